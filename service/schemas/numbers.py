"""Blocks of numbers: lists of JSON numbers, or arrays, to float64; each element that is none is pointed at.

Packing rows with `struct` refuses strings, null, nested lists and ragged rows, in half the time of
`numpy.array`, which would take "1.5" and null without a word. Only booleans pass as 0 and 1, so elements that
came out as 0 or 1 are looked at again.
"""

import struct
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np

from posneg.service.schemas.faults import Faults, shown
from posneg.service.schemas.loss_input import Floats

At = Callable[[int], str]
"""Row number → its JSON pointer."""


def is_number(value: object) -> bool:
    """A JSON number that float64 holds, NaN and the infinities included."""
    if type(value) is float:
        return True
    if type(value) is not int:
        return False
    try:
        float(value)
    except OverflowError:
        return False
    return True


def vector(value: Any, pointer: str, faults: Faults) -> Floats | None:  # noqa: ANN401 - any JSON value
    """Numbers [N]; None where faults were found."""
    if isinstance(value, np.ndarray):
        return _of_shape(value, (None,), pointer, faults)
    if type(value) is not list:
        faults.wrong_type(pointer, value, "a list of numbers")
        return None
    packed = _packed([value], len(value))
    if packed is not None:
        return packed.reshape(len(value))
    _point_at_elements(value, pointer, faults)
    return None


def matrix(
    value: Any,  # noqa: ANN401 - any JSON value
    width: int | None,
    pointer: str,
    faults: Faults,
) -> Floats | None:
    """Numbers [N, width], `width` None: whatever most rows have; None where faults were found."""
    if isinstance(value, np.ndarray):
        return _of_shape(value, (None, width), pointer, faults)
    if type(value) is not list:
        faults.wrong_type(pointer, value, "a list of rows")
        return None
    if width is None:
        width = _usual_length(value)
    return rows(value, width, lambda row: f"{pointer}/{row}", faults)


def cube(value: Any, height: int, pointer: str, faults: Faults) -> Floats | None:  # noqa: ANN401 - any JSON value
    """Numbers [N, height, R], R what most rows have; None where faults were found."""
    if isinstance(value, np.ndarray):
        return _of_shape(value, (None, height, None), pointer, faults)
    if type(value) is not list:
        faults.wrong_type(pointer, value, "a list of lists of rows")
        return None
    before = faults.total
    for row, sides in enumerate(value):
        if type(sides) is not list:
            faults.wrong_type(f"{pointer}/{row}", sides, f"a list of {height} rows")
        elif len(sides) != height:
            faults.add(f"{pointer}/{row}", f"{len(sides)} rows, not {height}", "wrong_length")
    if faults.total > before:
        return None
    flat = list(chain.from_iterable(value))
    block = rows(flat, _usual_length(flat), lambda row: f"{pointer}/{row // height}/{row % height}", faults)
    return None if block is None else block.reshape(len(value), height, block.shape[1])


def rows(values: list[Any], width: int, at: At, faults: Faults) -> Floats | None:
    """Numbers [N, width] from rows whose pointers `at` gives; None where faults were found."""
    packed = _packed(values, width)
    if packed is not None:
        return packed
    for index, row in enumerate(values):
        if type(row) is not list:
            faults.wrong_type(at(index), row, f"a row of {width} numbers")
        elif len(row) != width:
            faults.add(at(index), f"{len(row)} numbers, not {width}", "wrong_length")
        else:
            _point_at_elements(row, at(index), faults)
    return None


def boxes(values: list[Any], at: At, faults: Faults) -> Floats | None:
    """Boxes [N, 4], one to an element; a box with anything wrong is one fault, null is a missing one."""
    packed = _packed(values, 4)
    if packed is not None:
        return packed
    for index, box in enumerate(values):
        if box is None:
            faults.missing(at(index), "no box; it takes 4 numbers")
        elif type(box) is not list:
            faults.wrong_type(at(index), box, "a list of 4 numbers")
        elif len(box) != 4:
            faults.add(at(index), f"{len(box)} numbers, not 4", "wrong_length")
        elif wrong := [value for value in box if not is_number(value)]:
            faults.add(at(index), f"{shown(wrong[0])} is not a number", "wrong_type")
    return None


def _packed(values: list[Any], width: int) -> Floats | None:
    """The rows as an array, or None if any is not a list of `width` numbers."""
    if not values:  # most images of some requests are empty, and NumPy's calls add up
        return np.zeros((0, width))
    if not all(type(row) is list for row in values):
        return None
    pack = struct.Struct(f"{width}d").pack
    try:
        data = bytearray().join([pack(*row) for row in values])
    except (struct.error, OverflowError):
        return None
    block = np.frombuffer(data, dtype=np.float64)
    return None if _holds_boolean(values, block, width) else block.reshape(len(values), width)


def _holds_boolean(values: list[list[Any]], block: Floats, width: int) -> bool:
    suspects = np.flatnonzero((block == 0) | (block == 1))
    if len(suspects) * 20 > len(block):  # then it is cheaper to look at all of them
        return bool in set(map(type, chain.from_iterable(values)))
    return any(type(values[at // width][at % width]) is bool for at in suspects.tolist())


def _point_at_elements(values: Sequence[Any], pointer: str, faults: Faults) -> None:
    for index, value in enumerate(values):
        if not is_number(value):
            faults.wrong_type(f"{pointer}/{index}", value, "a number")


def _usual_length(values: list[Any]) -> int:
    """The length that most of the rows have; 0 without rows."""
    lengths: Iterator[int] = (len(row) for row in values if type(row) is list)
    counted = Counter(lengths).most_common(1)
    return counted[0][0] if counted else 0


def _of_shape(
    array: np.ndarray[Any, Any], shape: tuple[int | None, ...], pointer: str, faults: Faults
) -> Floats | None:
    """A tensor as float64, if it has this shape; None stands for any length."""
    fits = array.ndim == len(shape) and all(
        wanted in (None, had) for wanted, had in zip(shape, array.shape, strict=True)
    )
    if not fits:
        wanted = " x ".join("N" if length is None else str(length) for length in shape)
        had = " x ".join(map(str, array.shape)) or "a scalar"
        faults.add(pointer, f"the tensor is {had}, not {wanted}", "wrong_shape")
        return None
    return array.astype(np.float64)
