"""A request's `images`: ground truth beside predictions, image by image."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from posneg.service.schemas.columns import PointedGrid, Size, dense_predictions
from posneg.service.schemas.elements import SparsePredictions, ground_truth, is_id
from posneg.service.schemas.elements import predictions as listed_predictions
from posneg.service.schemas.faults import Faults, given, shown
from posneg.service.schemas.labels import Labels
from posneg.service.schemas.loss_input import GroundTruthInput, ImageInput, Notice, PredictionsInput
from posneg.service.schemas.loss_request import Image
from posneg.service.schemas.numbers import is_number

MAX_IMAGES = 200_000
MAX_SCORES = 50_000_000
"""Predictions times classes, of all lists together: each list becomes a table of 9 bytes a score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadImage:
    """One image before the number of classes is known."""

    id: str | int
    pointer: str  # of its predictions
    size: Size | None
    ground_truth: GroundTruthInput
    predictions: PredictionsInput | SparsePredictions
    grid: bool


@dataclass(frozen=True, slots=True)
class Dense:
    """The columns of one image, and where they stand."""

    pointer: str
    predictions: PredictionsInput


def read_images(value: Any, grid: Any, labels: Labels, faults: Faults) -> list[ReadImage]:  # noqa: ANN401
    """Every image; `grid` is the request's own, for those that have none."""
    if type(value) is not list:
        faults.wrong_type("/images", value, "a list")
        return []
    if len(value) > MAX_IMAGES:
        faults.add("/images", f"{len(value)} images; a request may have {MAX_IMAGES}", "too_many")
        return []
    for label in _labels_in(value):
        labels.expect(label)
        break
    outer: PointedGrid | None = None if grid is None else (grid, "/grid")
    images = [
        _read(image, index, outer, labels, faults)
        for index, image in enumerate(value)
        if _is_object(image, f"/images/{index}", faults)
    ]
    _check_ids(images, faults)
    return images


def finish_images(images: list[ReadImage], labels: Labels, faults: Faults) -> list[ImageInput]:
    """The images once all are read: columns agree with each other and the classes; lists spread over them."""
    dense = [Dense(i.pointer, i.predictions) for i in images if isinstance(i.predictions, PredictionsInput)]
    sparse = [i.predictions for i in images if isinstance(i.predictions, SparsePredictions)]
    pattern = next((image for image in dense if image.predictions.count), dense[0] if dense else None)
    if pattern is not None:
        _check_classes(dense, labels, faults)
        _check_one_kind(images, faults)
        if not faults.total:  # a column at fault was left out, and is not missing
            _check_alike(dense, pattern, faults)
    classes = len(labels.finish())
    scores = sum(len(found.boxes) for found in sparse) * classes
    if scores > MAX_SCORES:
        detail = f"predictions times classes are {scores} scores; a request may have {MAX_SCORES}"
        faults.add("", detail, "too_many")
    faults.raise_if_any()
    widths = {} if pattern is None else _widths(pattern.predictions, classes)
    return [_finish(image, classes, widths) for image in images]


def inferred_notices(images: list[ReadImage], labels: Labels) -> list[Notice]:
    """That dense columns were taken to stand for classes in the order in which labels name them first."""
    dense = any(isinstance(image.predictions, PredictionsInput) for image in images)
    if not dense or labels.listed or labels.mode != "names":
        return []
    names = ", ".join(shown(name) for name in labels.names[:10])
    detail = f"no `classes`, so the columns of class scores are taken to be, by first use: {names}"
    return [Notice(code="CLASSES_INFERRED", detail=detail, pointer="/classes")]


def _read(
    image: dict[str, Any], index: int, grid: PointedGrid | None, labels: Labels, faults: Faults
) -> ReadImage:
    pointer = f"/images/{index}"
    faults.unknown_fields(pointer, image, Image.model_fields)
    size = _size(image.get("size"), f"{pointer}/size", faults)
    boxes = ground_truth(given(image, "ground_truth", []), f"{pointer}/ground_truth", labels, faults)
    at, sent = f"{pointer}/predictions", given(image, "predictions", [])
    if image.get("grid") is not None:
        grid = (image["grid"], f"{pointer}/grid")
    found: PredictionsInput | SparsePredictions
    movable = False
    if type(sent) is dict:
        found, movable = dense_predictions(sent, at, size, grid, faults)
    else:
        found = listed_predictions(sent, at, labels, faults)
    return ReadImage(
        id=_id(image.get("id"), index, faults),
        pointer=at,
        size=size,
        ground_truth=boxes,
        predictions=found,
        grid=movable,
    )


def _is_object(image: object, pointer: str, faults: Faults) -> bool:
    if type(image) is dict:
        return True
    faults.wrong_type(pointer, image, "an object")
    return False


def _id(value: Any, index: int, faults: Faults) -> str | int:  # noqa: ANN401 - any JSON value
    if value is None:
        return index
    if is_id(value):
        return value  # type: ignore[no-any-return]
    faults.wrong_type(f"/images/{index}/id", value, "a string or a whole number of 64 bits")
    return index


def _check_ids(images: list[ReadImage], faults: Faults) -> None:
    first: dict[str | int, ReadImage] = {}
    for image in images:
        if first.setdefault(image.id, image) is not image:
            pointer = image.pointer.removesuffix("/predictions")
            other = first[image.id].pointer.removesuffix("/predictions")
            detail = f"{shown(image.id)} is the id of {other} too (an image without one has its index)"
            faults.add(f"{pointer}/id", detail, "duplicate_id")


def _size(value: Any, pointer: str, faults: Faults) -> Size | None:  # noqa: ANN401 - any JSON value
    if value is None:
        return None
    if type(value) is not list or len(value) != 2 or not all(map(is_number, value)):
        faults.wrong_type(pointer, value, "[height, width]")
        return None
    if not all(0 < length < float("inf") for length in value):
        faults.add(pointer, "height and width are not both finite and above 0", "out_of_range")
        return None
    return float(value[0]), float(value[1])


def _labels_in(images: list[Any]) -> Iterator[Any]:
    """Every label of the list elements, in the order in which they are read."""
    for image in images:
        for name in ("ground_truth", "predictions"):
            elements = image.get(name) if type(image) is dict else None
            for element in elements if type(elements) is list else ():
                if type(element) is dict and element.get("label") is not None:
                    yield element["label"]


def _check_alike(dense: list[Dense], pattern: Dense, faults: Faults) -> None:
    """All images have the columns of `pattern`; distributions have as many bins."""
    wanted = pattern.predictions.columns
    for image in dense:
        own = image.predictions.columns
        for name in sorted(wanted.keys() ^ own.keys()):
            here, there = (image, pattern) if name in wanted else (pattern, image)
            detail = f"no `{name}`, which {there.pointer} has; all images need the same columns"
            faults.add(f"{here.pointer}/{name}", detail, "inconsistent_columns")
        if {"dfl"} <= wanted.keys() & own.keys() and len(own["dfl"]):
            bins, others = own["dfl"].shape[2], wanted["dfl"].shape[2]
            if bins != others:
                detail = f"{bins} bins, but {pattern.pointer} has {others}"
                faults.add(f"{image.pointer}/dfl", detail, "inconsistent_columns")


def _check_classes(dense: list[Dense], labels: Labels, faults: Faults) -> None:
    """Scores have a column a class, or one more for a softmax's background; unlisted classes follow them."""
    for image in dense:
        for name in {"scores", "logits"} & image.predictions.columns.keys():
            column = image.predictions.columns[name]
            if not len(column):
                continue
            if not labels.listed:
                labels.widen(column.shape[1])
            if not labels.broken and column.shape[1] not in (labels.count, labels.count + 1):
                detail = f"{column.shape[1]} columns for {labels.count} classes; a softmax may have one more"
                faults.add(f"{image.pointer}/{name}", detail, "column_count")


def _check_one_kind(images: list[ReadImage], faults: Faults) -> None:
    for image in images:
        if isinstance(image.predictions, SparsePredictions) and len(image.predictions.boxes):
            detail = "a list, but other images have columns; use one form in a request"
            faults.add(image.pointer, detail, "mixed_predictions")


def _widths(pattern: PredictionsInput, classes: int) -> dict[str, tuple[int, ...]]:
    """What a row of each column looks like; an image without any prediction cannot tell by itself."""
    widths = {name: column.shape[1:] for name, column in pattern.columns.items()}
    if not pattern.count:
        widths |= {name: (classes,) for name in ("scores", "logits") if name in widths}
    return widths


def _finish(image: ReadImage, classes: int, widths: dict[str, tuple[int, ...]]) -> ImageInput:
    found = image.predictions
    if isinstance(found, PredictionsInput) and found.count:
        predictions = found
    elif widths:
        empty = {name: np.zeros((0, *width)) for name, width in widths.items()}
        predictions = PredictionsInput(dense=True, count=0, columns=empty)
    else:
        assert isinstance(found, SparsePredictions), "columns have widths"
        predictions = found.spread(classes)
    return ImageInput(
        id=image.id,
        ground_truth=image.ground_truth,
        predictions=predictions,
        size=image.size,
        grid=image.grid,
    )
