"""Predictions of a dense head as columns, and the anchor points that a grid stands for."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from posneg.service.schemas.faults import Faults, given, shown
from posneg.service.schemas.loss_input import Floats, Integers, PredictionsInput
from posneg.service.schemas.loss_request import Columns, Grid
from posneg.service.schemas.numbers import cube, is_number, matrix, vector

Read = Callable[[Any, str, Faults], Floats | None]


def _rows(width: int | None) -> Read:
    return lambda value, pointer, faults: matrix(value, width, pointer, faults)


def _probabilities(value: Any, pointer: str, faults: Faults) -> Floats | None:  # noqa: ANN401 - any JSON value
    """[N, C] in 0..1, or not finite, which is left to be diagnosed."""
    column = matrix(value, None, pointer, faults)
    if column is not None:
        for row, number in np.argwhere(((column < 0) | (column > 1)) & np.isfinite(column)).tolist():
            detail = f"{column[row, number]:g} is no probability; what is before the sigmoid goes as `logits`"
            faults.add(f"{pointer}/{row}/{number}", detail, "not_a_probability")
    return column


def _distributions(value: Any, pointer: str, faults: Faults) -> Floats | None:  # noqa: ANN401 - any JSON value
    """[N, 4, R] logits; a distribution over fewer than two bins is none."""
    column = cube(value, 4, pointer, faults)
    if column is not None and len(column) and column.shape[2] < 2:
        bins = column.shape[2]
        faults.add(pointer, f"R = {bins}; it takes 2 bins or more (a single one is `ltrb`)", "wrong_length")
        return None
    return column


READ: dict[str, Read] = {
    "boxes": _rows(4),
    "scores": _probabilities,
    "logits": _rows(None),
    "points": _rows(2),
    "strides": vector,
    "anchors": _rows(4),
    "dfl": _distributions,
    "ltrb": _rows(4),
    "deltas": _rows(4),
    "raw": _rows(4),
    "objectness": vector,
    "centerness": vector,
}
"""Every column by its name in the contract: how it is read."""

DECODED_WITH = {
    "dfl": ("strides", "points or anchors"),
    "ltrb": ("strides", "points or anchors"),
    "deltas": ("anchors",),
    "raw": ("strides", "points"),
}
"""What stands in for boxes, and which columns it takes to decode it."""

Size = tuple[float, float]
PointedGrid = tuple[Any, str]
"""A grid as it was sent, and where it stands."""


def dense_predictions(
    value: dict[str, Any], pointer: str, size: Size | None, outer_grid: PointedGrid | None, faults: Faults
) -> tuple[PredictionsInput, bool]:
    """The columns of one image, and whether their points are a grid's that a preset may move.

    `outer_grid` stands outside of the columns, for those that have neither points nor anchors. Columns at
    fault are left out.
    """
    faults.unknown_fields(pointer, value, Columns.model_fields)
    sent = {name for name in READ if value.get(name) is not None}
    read = {name: READ[name](value[name], f"{pointer}/{name}", faults) for name in READ if name in sent}
    columns = {name: column for name, column in read.items() if column is not None}
    before = faults.total
    count = _count(columns, pointer, faults)
    agreed = faults.total == before
    if "strides" in columns:
        _check_strides(columns["strides"], f"{pointer}/strides", faults)
    grid: PointedGrid | None = None
    if value.get("grid") is not None:
        grid = (value["grid"], f"{pointer}/grid")
    elif not sent & {"points", "anchors"}:
        grid = outer_grid
    _check_complete(sent | ({"points", "strides"} if grid else set()), pointer, faults)
    movable = grid is not None and agreed and _lay_grid(grid, size, count, columns, faults)
    sampled = _sampled(value.get("sampled"), f"{pointer}/sampled", count, faults)
    return PredictionsInput(dense=True, count=count, columns=columns, sampled=sampled), movable


def _count(columns: dict[str, Floats], pointer: str, faults: Faults) -> int:
    """How many predictions there are: the rows of the first column; others must agree."""
    if not columns:
        return 0
    first = next(iter(columns))
    count = len(columns[first])
    for name, column in columns.items():
        if len(column) != count:
            faults.add(f"{pointer}/{name}", f"{len(column)} rows; {first} has {count}", "row_count")
    return count


def _check_strides(strides: Floats, pointer: str, faults: Faults) -> None:
    for index in np.flatnonzero(~(np.isfinite(strides) & (strides > 0))).tolist():
        faults.add(f"{pointer}/{index}", f"{strides[index]} is not a finite number above 0", "out_of_range")


def _check_complete(columns: set[str], pointer: str, faults: Faults) -> None:
    """Boxes, or what can be decoded into boxes; and one kind of class scores, or objectness alone."""
    if "scores" in columns and "logits" in columns:
        faults.add(f"{pointer}/logits", "beside `scores`; send one of them", "conflicting_fields")
    if not columns & {"scores", "logits", "objectness"}:
        faults.missing(f"{pointer}/scores", "no class scores; send `scores` or `logits`")
    if "boxes" in columns:
        return
    emitted = [name for name in DECODED_WITH if name in columns]
    if not emitted:
        faults.missing(f"{pointer}/boxes", f"no boxes; send `boxes` or one of {', '.join(DECODED_WITH)}")
    for name in emitted:
        for needed in DECODED_WITH[name]:
            if not any(choice in columns for choice in needed.split(" or ")):
                faults.missing(
                    f"{pointer}/{needed.split(' or ')[0]}", f"{name} cannot be decoded without {needed}"
                )


def _sampled(value: Any, pointer: str, count: int, faults: Faults) -> Integers | None:  # noqa: ANN401
    if value is None:
        return None
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if type(value) is not list:
        faults.wrong_type(pointer, value, "a list of row numbers")
        return None
    seen: set[int] = set()
    for index, row in enumerate(value):
        if type(row) is not int:
            faults.wrong_type(f"{pointer}/{index}", row, "a row number")
        elif not 0 <= row < count:
            detail = f"{shown(row)} is no row; there are {count}, counted from 0"
            faults.add(f"{pointer}/{index}", detail, "out_of_range")
        elif row in seen:
            faults.add(f"{pointer}/{index}", f"row {row} is there twice", "duplicate_row")
        else:
            seen.add(row)
    return np.array(sorted(seen), dtype=np.int64)


def _lay_grid(
    pointed: PointedGrid, size: Size | None, count: int, columns: dict[str, Floats], faults: Faults
) -> bool:
    """Add the grid's points and strides to the columns; whether a preset may move the points."""
    before = faults.total
    grid, pointer = pointed
    strides, offset = _grid_options(grid, pointer, faults)
    for name in ("points", "strides"):
        if name in columns:
            faults.add(pointer, f"a grid beside `{name}`; send one of them", "conflicting_fields")
    if size is None:
        faults.missing(pointer, "a grid needs the image's `size`")
    if faults.total > before or size is None:
        return False
    cells = [(_cells(size[0], stride), _cells(size[1], stride)) for stride in strides]
    expected = sum(height * width for height, width in cells)
    if expected != count:
        levels = " + ".join(f"{height} x {width}" for height, width in cells[:10])
        detail = f"{levels} = {expected} cells on {size[0]:g} x {size[1]:g} pixels, but {count} predictions"
        faults.add(pointer, detail, "grid_mismatch")
        return False
    levels_points = [
        _level_points(height, width, stride, 0.5 if offset is None else offset)
        for (height, width), stride in zip(cells, strides, strict=True)
    ]
    columns["points"] = np.concatenate([np.zeros((0, 2)), *levels_points])
    columns["strides"] = np.repeat(strides, [height * width for height, width in cells]).astype(np.float64)
    return offset is None


def _cells(length: float, stride: float) -> int:
    """How many cells cover a length, both in pixels; bounded, since neither is known to be sensible yet."""
    return math.ceil(min(length / stride, 1e9))


def _level_points(height: int, width: int, stride: float, offset: float) -> Floats:
    """(x, y) of the cells of one level, row by row, in pixels."""
    points = np.empty((height, width, 2))
    points[..., 0] = (np.arange(width) + offset) * stride
    points[..., 1] = ((np.arange(height) + offset) * stride)[:, None]
    return points.reshape(-1, 2)


def _grid_options(grid: Any, pointer: str, faults: Faults) -> tuple[list[float], float | None]:  # noqa: ANN401
    if type(grid) is not dict:
        faults.wrong_type(pointer, grid, "an object such as {'strides': [8, 16, 32]}")
        return [], None
    faults.unknown_fields(pointer, grid, Grid.model_fields)
    strides = given(grid, "strides", [])
    if not strides:
        faults.missing(f"{pointer}/strides", "no strides; they are pixels, one a level")
    read = vector(strides, f"{pointer}/strides", faults)
    if read is not None:
        _check_strides(read, f"{pointer}/strides", faults)
    offset = grid.get("offset")
    if offset is not None and not is_number(offset):
        faults.wrong_type(f"{pointer}/offset", offset, "a number")
    elif offset is not None and not 0 <= offset <= 1:
        faults.add(f"{pointer}/offset", f"{shown(offset)} is not 0 to 1", "out_of_range")
    return ([] if read is None else read.tolist()), offset
