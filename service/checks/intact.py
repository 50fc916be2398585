"""A baseline that came over the wire: the run that it keeps, or what is wrong with it."""

import json
from typing import Any

from pydantic import ValidationError

from posneg.service.checks.baseline import FORMAT, Snapshot, restore
from posneg.service.errors import BaselineIncompatible
from posneg.service.schemas.faults import Faults


def intact(document: Any, place: str = "") -> Snapshot:  # noqa: ANN401 - any JSON value
    """The run that a document keeps; `place` is the JSON pointer to it.

    Raises `InvalidRequest` with a pointer to each bad element, `BaselineIncompatible` for another format.
    """
    faults = Faults()
    if type(document) is not dict:
        faults.wrong_type(place, document, "a baseline as `posneg record` writes it")
    elif "format" not in document:
        faults.missing(f"{place}/format", "a baseline says its format; `posneg record` writes one")
    faults.raise_if_any()
    written_as = document["format"]
    if type(written_as) is not int or written_as != FORMAT:
        raise BaselineIncompatible(
            f"the baseline has format {str(written_as)[:40]!r}, this version reads {FORMAT}; record it again"
        )
    return _restored(document, place, faults)


def _restored(document: dict[str, Any], place: str, faults: Faults) -> Snapshot:
    try:
        json.dumps(document, allow_nan=False)
        return restore(document)
    except ValidationError as error:
        for fault in error.errors(include_url=False, include_input=False):
            pointer = "".join(f"/{str(step)[:200]}" for step in fault["loc"])
            faults.add(f"{place}{pointer}", fault["msg"], "wrong_type")
    except ValueError:
        faults.add(place, "a baseline holds null where a number is not finite", "not_finite")
    except RecursionError:
        faults.add(place, "nested too deeply", "too_deep")
    faults.raise_if_any()
    raise AssertionError("what was caught is a fault")
