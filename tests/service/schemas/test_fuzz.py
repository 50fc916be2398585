"""Whatever comes in: a reading or a problem with pointers, never another exception."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from posneg.service.errors import problem
from tests.service.schemas.requests import VALID, outcome

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 9)
    | st.sampled_from([2**63, 2**64, 10**400, -(10**30)])
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["", "x", "car", "\ud800", "a/b~c", "xywh", "float16", "yolov8", "summary"])
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.sampled_from(["id", "box", "label", "score", "grid", "q"]), inner, max_size=4)
    ),
    max_leaves=12,
)


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every element below the root."""
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, below in steps:
        yield (*path, step)
        yield from paths(below, (*path, step))


PLACES = [(name, path) for name, request in VALID.items() for path in paths(request)]


def encoded(value: object, ascii_only: bool) -> bytes:
    """JSON as careless clients write it: NaN, huge numbers, halves of surrogates."""
    return json.dumps(value, ensure_ascii=ascii_only).encode(errors="surrogatepass")


def check(body: bytes) -> None:
    """Read it; a problem has to be tellable."""
    error = outcome(body)
    if error is not None:
        orjson.dumps(problem(error, "id"))
        assert error.status == 422
        assert error.faults


@given(value=values, ascii_only=st.booleans())
def test_any_json_is_read_or_refused(value: object, ascii_only: bool) -> None:
    """Any value as a body, and as each part of a request."""
    check(encoded(value, ascii_only))
    for name in ("images", "coco", "classes", "assigner", "loss", "grid"):
        check(encoded({"images": [], name: value}, ascii_only))


@settings(max_examples=600)
@given(
    place=st.sampled_from(PLACES), value=values, other=st.sampled_from(PLACES), act=st.sampled_from("rrrdac")
)
def test_a_request_changed_anywhere_is_read_or_refused(
    place: tuple[str, tuple[Any, ...]], value: Any, other: tuple[str, tuple[Any, ...]], act: str
) -> None:
    """One element replaced, taken out, repeated, or replaced by one from elsewhere."""
    name, path = place
    request = copy.deepcopy(VALID[name])
    parent: Any = request
    for step in path[:-1]:
        parent = parent[step]
    if act == "d":
        del parent[path[-1]]
    elif act == "a" and isinstance(parent, list):
        parent.append(parent[path[-1]])
    elif act == "c":
        source: Any = VALID[other[0]]
        for step in other[1]:
            source = source[step]
        parent[path[-1]] = source
    else:
        parent[path[-1]] = value

    check(encoded(request, True))


@given(body=st.binary(max_size=40), at=st.integers(0, 400), name=st.sampled_from(sorted(VALID)))
def test_any_bytes_are_read_or_refused(body: bytes, at: int, name: str) -> None:
    """Alone, and in the middle of a valid body."""
    valid = orjson.dumps(VALID[name])
    check(body)
    check(valid[:at] + body + valid[at:])
    check(valid[:at] + body)
