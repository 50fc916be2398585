"""What the owner of a file says of it, in place of what would be found out, and how a query says it."""

from dataclasses import dataclass

import orjson

from posneg.service.errors import InvalidRequest

MAX_SIDE = 8192
MAX_LABELS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """Each is None where nothing was said; `input_size` is (height, width)."""

    layout: str | None = None
    labels: tuple[str, ...] | None = None
    input_size: tuple[int, int] | None = None


def read_labels(given: list[str] | None) -> tuple[str, ...] | None:
    """Names repeated, comma-separated or as a JSON list."""
    if not given:
        return None
    labels = given if len(given) > 1 else _split(given[0])
    if not labels or len(labels) > MAX_LABELS or not all(labels):
        raise InvalidRequest.at(
            "/query/labels", f"labels are 1 to {MAX_LABELS} names, none empty", "invalid_labels"
        )
    return tuple(labels)


def _split(text: str) -> list[str]:
    if not text.lstrip().startswith("["):
        return [label.strip() for label in text.split(",")]
    try:
        labels = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest.at(
            "/query/labels", f"labels are no JSON list: {error}", "invalid_labels"
        ) from error
    if not all(isinstance(label, str) for label in labels):
        raise InvalidRequest.at("/query/labels", "labels are a list of names", "invalid_labels")
    return list(labels)


def read_input_size(given: str | None) -> tuple[int, int] | None:
    """`640`, or height and width: `480,640`, `480x640`, `[480, 640]`."""
    if given is None:
        return None
    sides = given.strip("[] ").replace("x", ",").split(",")
    numbers = [int(side) for side in sides if side.strip().isdecimal()]
    if len(numbers) != len(sides) or len(sides) not in (1, 2) or not all(1 <= n <= MAX_SIDE for n in numbers):
        detail = f"input_size {given[:40]!r} is neither a side (640) nor height and width (480,640)"
        raise InvalidRequest.at("/query/input_size", detail, "invalid_input_size")
    return numbers[0], numbers[-1]
