"""A check that was asked for over the wire: a baseline, by name or in full, and a request of /v1/losses."""

import json
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from posneg.service.checks import kept_baselines
from posneg.service.checks.baseline import Snapshot, snapshot
from posneg.service.checks.compare import compare
from posneg.service.checks.config import Tolerances, fault_of
from posneg.service.checks.fingerprint import fingerprint
from posneg.service.checks.intact import intact
from posneg.service.checks.report import CaseReport, Report
from posneg.service.engine import answer
from posneg.service.errors import BaselineIncompatible, InvalidRequest
from posneg.service.records import Records
from posneg.service.schemas.comparison import relocated
from posneg.service.schemas.faults import Faults
from posneg.service.schemas.loss_input import LossInput
from posneg.service.schemas.losses import interpret

Json = dict[str, Any]
FIELDS = ("baseline", "current", "tolerance")
UNNAMED = "current"
"""What a case is called whose baseline came without being readable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be compared; `baseline` is None where `problem` says why it cannot be."""

    name: str
    kept_as: str | None
    baseline: Snapshot | None
    problem: BaselineIncompatible | None
    current: LossInput
    tolerances: Tolerances


def read(document: Any, records: Records) -> Asked:  # noqa: ANN401 - any JSON value
    """What a body asks for; raises `InvalidRequest` with every pointer, `BaselineMissing` for a name."""
    faults = Faults()
    if type(document) is not dict:
        faults.wrong_type("", document, "an object with `baseline` and `current`")
        faults.raise_if_any()
    faults.unknown_fields("", document, FIELDS)
    name, kept_as, baseline, problem = _baseline(document.get("baseline"), records, faults)
    current = _current(document.get("current"), faults)
    tolerances = _tolerances(document.get("tolerance"), faults)
    faults.raise_if_any()
    assert current is not None, "what is missing is a fault"
    return Asked(
        name=name,
        kept_as=kept_as,
        baseline=baseline,
        problem=problem,
        current=current,
        tolerances=tolerances,
    )


def check(asked: Asked, *, max_pairs: int | None = None) -> Report:
    """Compute the current loss and compare it; the verdict is the report's, never an exception.

    Raises `InvalidRequest` where the request cannot be computed.
    """
    if asked.baseline is None:
        return Report(cases=(CaseReport(name=asked.name, problem=asked.problem),))
    try:
        computed = answer(asked.current, loss=True, max_pairs=max_pairs)
    except InvalidRequest as problem:
        raise relocated(problem, lambda pointer: f"/current{pointer}") from problem
    run = snapshot(asked.name, fingerprint(asked.current), computed)
    faults = Faults()
    faults.unknown_fields("/tolerance/terms", asked.tolerances.terms, run.terms)
    faults.raise_if_any()
    comparison = compare(asked.baseline, run, asked.tolerances)
    return Report(cases=(CaseReport(name=asked.name, comparison=comparison),))


def _baseline(
    given: Any,  # noqa: ANN401 - any JSON value
    records: Records,
    faults: Faults,
) -> tuple[str, str | None, Snapshot | None, BaselineIncompatible | None]:
    """What the case is called, what its baseline is kept as, the baseline or why it cannot be compared."""
    kept_as = given if type(given) is str else None
    name = kept_as or UNNAMED
    try:
        if given is None:
            faults.missing("/baseline", "send the name of a kept baseline, or one in full")
            return name, kept_as, None, None
        document = (
            json.loads(kept_baselines.get(records, given)["document"]) if kept_as is not None else given
        )
        run = intact(document, "/baseline")
        return kept_as or run.name, kept_as, run, None
    except BaselineIncompatible as problem:
        inside = given.get("name") if type(given) is dict else None
        return inside if type(inside) is str else name, kept_as, None, problem
    except InvalidRequest as problem:
        _take(problem, faults)
        return name, kept_as, None, None


def _current(given: Any, faults: Faults) -> LossInput | None:  # noqa: ANN401 - any JSON value
    if given is None:
        faults.missing("/current", "send what POST /v1/losses would be sent")
        return None
    # Flips are found among the rows of a full answer, whatever the caller would like to see of it.
    whole = {**given, "detail": "full", "gradients": False} if type(given) is dict else given
    try:
        return interpret(whole)
    except InvalidRequest as problem:
        _take(relocated(problem, lambda pointer: f"/current{pointer}"), faults)
        return None


def _tolerances(given: Any, faults: Faults) -> Tolerances:  # noqa: ANN401 - any JSON value
    try:
        return Tolerances.model_validate({} if given is None else given)
    except ValidationError as error:
        for one in error.errors(include_url=False):
            fault = fault_of({**one, "loc": ("tolerance", *one["loc"])})
            faults.add(fault.pointer, fault.detail, fault.code)
        return Tolerances()


def _take(problem: InvalidRequest, faults: Faults) -> None:
    """The faults of a part among those of the whole."""
    for fault in problem.faults:
        faults.add(fault.pointer, fault.detail, fault.code)
    faults.total += problem.faults_total - len(problem.faults)
