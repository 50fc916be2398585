"""What requests hold, as elements that can be told apart: rows of numbers, equal where the input is."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from posneg.models.explain.pairing import Elements, Floats
from posneg.models.explain.slots import Frames
from posneg.models.recipe import Recipe
from posneg.service.engine.answer import Evaluation
from posneg.service.engine.batch import to_xyxy
from posneg.service.schemas.loss_input import BoxFormat, GroundTruthInput, ImageInput, LossInput

PLACES = ("points", "strides", "anchors")


def frames(a: Evaluation, b: Evaluation) -> tuple[Frames, Frames]:
    """The elements of two requests; classes are told apart by name, sizes where a loss counts in them."""
    first, second = a.explained.request.classes, b.explained.request.classes
    names = [*first, *(name for name in second if name not in first)]
    sized = any(term.unit == "image" for side in (a, b) for term in side.recipe.terms.values())
    counted = _counts_classes(a.recipe) or _counts_classes(b.recipe)
    return _frames(a, names, sized, counted), _frames(b, names, sized, counted)


def _counts_classes(recipe: Recipe) -> bool:
    """Whether some loss is a mean over classes, so that it depends on how many there are."""
    return any(
        term.loss in ("focal", "varifocal") and term.options.get("flavor") == "ultralytics"
        for term in recipe.terms.values()
    )


def _frames(evaluation: Evaluation, names: list[str], sized: bool, counted: bool) -> Frames:
    request, batch = evaluation.explained.request, evaluation.explained.prepared.batch
    count = str(len(request.classes)) if counted else ""
    decoded = batch.predictions.boxes.detach().double().numpy()
    ends = np.cumsum([image.predictions.count for image in request.images])
    boxes = np.split(decoded, ends[:-1]) if len(ends) else []
    return Frames(
        ids=[image.id for image in request.images],
        ground_truth=[_ground_truth(image.ground_truth, request, names) for image in request.images],
        predictions=[
            _predictions(image, request, own, names, f"{count} {image.size if sized else ''}")
            for image, own in zip(request.images, boxes, strict=True)
        ],
    )


def _ground_truth(truth: GroundTruthInput, request: LossInput, names: list[str]) -> Elements:
    """Boxes with their classes as shares."""
    labels = [request.classes[label] for label in truth.labels.tolist()]
    number = {name: n for n, name in enumerate(names)}
    shares = np.zeros((len(labels), len(names)))
    for row, (label, soft) in enumerate(zip(labels, truth.soft_labels, strict=True)):
        shares[row, number[label]] = 1
        if soft:
            shares[row] = [soft.get(name, 0.0) for name in names]
    label_numbers = np.array([number[name] for name in labels], dtype=np.float64)
    boxes = _corners(truth.boxes, request.box_format)
    return Elements(
        ids=truth.ids,
        content=_columns(len(labels), [boxes, truth.ignore, truth.weight, label_numbers, shares]),
        frame="",
        boxes=boxes,
        labels=labels,
    )


def _predictions(
    image: ImageInput, request: LossInput, decoded: Floats, names: list[str], common: str
) -> Elements:
    """A list as boxes and the scores that it gives, by class; columns as they are."""
    given, count = image.predictions, image.predictions.count
    if given.dense:
        return _dense(image, request, decoded, common)
    scores, marks = np.zeros((count, len(names))), np.zeros((count, len(names)))
    boxes = decoded
    if count and given.given is not None:
        boxes = _corners(given.columns["boxes"], request.box_format)
        number = {name: n for n, name in enumerate(names)}
        where = [number[name] for name in request.classes]
        marks[:, where] = given.given
        scores[:, where] = np.where(given.given, given.columns["scores"], 0.0)
    labels = [None] * count if given.labels is None else [request.classes[n] for n in given.labels.tolist()]
    return Elements(
        ids=given.ids or [None] * count,
        content=_columns(count, [boxes, scores, marks]),
        frame=f"list {common}",
        boxes=boxes,
        labels=labels,
    )


def _dense(image: ImageInput, request: LossInput, decoded: Floats, common: str) -> Elements:
    given, count = image.predictions, image.predictions.count
    columns = dict(sorted(given.columns.items()))
    for name in columns.keys() & {"boxes", "anchors"}:
        columns[name] = _corners(columns[name], request.box_format)
    sampled = np.isin(np.arange(count), [] if given.sampled is None else given.sampled)
    scores = columns.get("logits", columns.get("scores"))
    labels: list[str | None] = [None] * count
    if scores is not None and count and request.classes:
        best = np.nan_to_num(scores[:, : len(request.classes)]).argmax(1)
        labels = [request.classes[n] for n in best.tolist()]
    widths = {name: column.shape[1:] for name, column in columns.items()}
    frame = (widths, request.classes, image.grid, given.sampled is None, common)
    return Elements(
        ids=given.ids or [None] * count,
        content=_columns(count, [*columns.values(), sampled]),
        frame=f"columns {frame!r}",
        boxes=decoded,
        labels=labels,
        places=_columns(count, [columns[name] for name in PLACES if name in columns]),
    )


def _corners(boxes: Floats, box_format: BoxFormat) -> Floats:
    corners: Floats = to_xyxy(torch.from_numpy(boxes.reshape(-1, 4)), box_format).numpy()
    return corners


def _columns(count: int, parts: Sequence[NDArray[Any]]) -> Floats:
    """Columns side by side, [R, K]; adding 0 makes -0.0 the 0.0 that it equals."""
    wide = [np.asarray(part, dtype=np.float64).reshape(count, -1 if count else 0) + 0.0 for part in parts]
    return np.concatenate([np.zeros((count, 0)), *wide], axis=1)
