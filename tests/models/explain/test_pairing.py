"""Pairing: by id, by place, by content, by overlap, and the same whichever run comes first."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from posneg.models.explain.pairing import Elements, equal_rows, pair


def elements(boxes: list[list[float]], **changes: Any) -> Elements:
    """Boxes as a list without ids, all of one label; their corners are their content."""
    corners = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    values = {
        "ids": [None] * len(boxes),
        "content": corners,
        "frame": "list",
        "boxes": corners,
        "labels": ["car"] * len(boxes),
    }
    return Elements(**values | changes)


NEAR, FAR = [0.0, 0, 10, 10], [50.0, 50, 60, 60]
MOVED = [1.0, 0, 11, 10]


def test_ids_come_before_content_and_overlap() -> None:
    """A box that moved away is still the box of its id; the others go on."""
    a = elements([NEAR, FAR, MOVED], ids=["x", None, None])
    b = elements([NEAR, [50.0, 50, 61, 60], MOVED], ids=[None, "x", None])

    assert pair(a, b).tolist() == [1, -1, 2]


def test_renamed_ids_are_paired_by_content() -> None:
    """An id that the other run has not names nothing."""
    a, b = elements([NEAR, FAR], ids=["x", "y"]), elements([FAR, NEAR], ids=["v", "w"])

    assert pair(a, b).tolist() == [1, 0]


def test_a_file_that_was_numbered_anew_is_the_same() -> None:
    """Equal rows in all: ids only tell equals apart."""
    a, b = elements([NEAR, FAR, FAR], ids=[1, 2, 3]), elements([FAR, FAR, NEAR], ids=[1, 2, 3])

    assert pair(a, b).tolist() == [2, 1, 0]
    assert equal_rows(a, b, pair(a, b)).all()


def test_columns_of_the_same_places_are_paired_by_index() -> None:
    """Whatever they say now; with other places they are looked for."""
    places = np.array([[4.0, 4], [12, 4]])
    a, b = elements([NEAR, FAR], places=places), elements([FAR, NEAR], places=places)
    elsewhere = elements([FAR, NEAR], places=places + 1)

    changed = elements([FAR, MOVED], places=places)
    assert pair(a, changed).tolist() == [0, 1]
    assert pair(a, b).tolist() == pair(a, elsewhere).tolist() == [1, 0]


def test_equal_rows_are_paired_in_order() -> None:
    """The first of equals with the first; one too many is left."""
    a, b = elements([NEAR, NEAR, NEAR]), elements([FAR, NEAR, NEAR])

    assert pair(a, b).tolist() == [1, 2, -1]
    assert equal_rows(a, b, pair(a, b)).tolist() == [True, True, False]


def test_the_same_label_comes_before_a_better_overlap() -> None:
    """Any label only for what is left, and nothing below half."""
    a = elements([NEAR, [100.0, 0, 110, 10]], labels=["car", "car"])
    b = elements([[0.0, 0, 10, 10.5], MOVED, [105.1, 0, 115, 10]], labels=["dog", "car", "car"])

    assert pair(a, b).tolist() == [1, -1]
    assert pair(a, elements([[0.0, 0, 10, 10.5]], labels=["dog"])).tolist() == [0, -1]


def test_a_nan_is_the_same_as_itself() -> None:
    """As data; only values that were computed are never equal then."""
    a = elements([[np.nan, 0, 1, 1]])

    assert pair(a, a).tolist() == [0]
    assert equal_rows(a, a, pair(a, a)).tolist() == [True]


number = st.integers(0, 12).map(float)
boxes = st.lists(st.builds(lambda x, y: [x, y, x + 10, y + 10], number, number), max_size=6)


@given(a=boxes, b=boxes)
def test_pairing_is_the_same_from_either_side(a: list[list[float]], b: list[list[float]]) -> None:
    """Also where several pairings are equally good."""
    there, back = pair(elements(a), elements(b)), pair(elements(b), elements(a))

    assert {(n, m) for n, m in enumerate(there.tolist()) if m >= 0} == {
        (n, m) for m, n in enumerate(back.tolist()) if n >= 0
    }
