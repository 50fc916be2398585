"""What the inputs of a loss hash to: the numbers that it depends on, whatever their order, spelling or form.

Images, boxes and predictions may be shuffled, coordinates sent as corners or as corner and size, and ids
changed: none of that is another input.
"""

import hashlib
from collections.abc import Iterable, Iterator

import numpy as np

from posneg.service.schemas.loss_input import (
    BoxFormat,
    Floats,
    GroundTruthInput,
    ImageInput,
    LossInput,
    PredictionsInput,
)


def fingerprint(request: LossInput) -> dict[str, str]:
    """SHA-256 of the ground truth and of the predictions."""
    ground_truth = (_ground_truth_rows(i.ground_truth, request) for i in request.images)
    predictions = (_prediction_rows(i, request) for i in request.images)
    return {"ground_truth": _hashed(ground_truth), "predictions": _hashed(predictions)}


def _hashed(images: Iterable[Iterator[bytes]]) -> str:
    return hashlib.sha256(_multiset(_multiset(rows) for rows in images)).hexdigest()


def _multiset(rows: Iterable[bytes]) -> bytes:
    return b"".join(sorted(hashlib.blake2b(row, digest_size=16).digest() for row in rows))


def _ground_truth_rows(truth: GroundTruthInput, request: LossInput) -> Iterator[bytes]:
    numbers = np.column_stack([_corners(truth.boxes, request.box_format), truth.ignore, truth.weight]) + 0.0
    for row, label, soft in zip(numbers, truth.labels.tolist(), truth.soft_labels, strict=True):
        yield row.tobytes() + repr((request.classes[label], sorted(soft.items()) if soft else None)).encode()


def _prediction_rows(image: ImageInput, request: LossInput) -> Iterator[bytes]:
    if image.predictions.count:
        rows = _dense_rows if image.predictions.dense else _sparse_rows
        yield from rows(image, image.predictions, request)


def _sparse_rows(_: ImageInput, predictions: PredictionsInput, request: LossInput) -> Iterator[bytes]:
    """A box and the scores it gives, by class name."""
    boxes = _corners(predictions.columns["boxes"], request.box_format) + 0.0
    scores, given = predictions.columns["scores"], predictions.given
    assert given is not None, "a list of predictions marks the classes that it gives"
    for box, values, marks in zip(boxes, scores, given, strict=True):
        named = sorted((request.classes[c], float(values[c])) for c in np.flatnonzero(marks))
        yield box.tobytes() + repr(named).encode()


def _dense_rows(image: ImageInput, predictions: PredictionsInput, request: LossInput) -> Iterator[bytes]:
    """Every column of a row; a head's size and classes say what its numbers mean."""
    count = predictions.count
    columns = dict(sorted(predictions.columns.items()))
    for name in columns.keys() & {"boxes", "anchors"}:
        columns[name] = _corners(columns[name], request.box_format)
    if predictions.sampled is not None:
        columns["sampled"] = np.isin(np.arange(count), predictions.sampled).astype(np.float64)
    frame = repr((list(columns), request.classes, image.size)).encode()
    # Adding zero turns -0.0 into 0.0: they are equal numbers, so they must not hash apart.
    wide = [np.asarray(column, dtype=np.float64).reshape(count, -1) + 0.0 for column in columns.values()]
    for row in np.concatenate(wide, axis=1):
        yield frame + row.tobytes()


def _corners(boxes: Floats, box_format: BoxFormat) -> Floats:
    boxes = boxes.reshape(-1, 4)
    if box_format == "xyxy":
        return boxes
    first, size = boxes[:, :2], boxes[:, 2:]
    first = first - size / 2 if box_format == "cxcywh" else first
    return np.concatenate([first, first + size], axis=1)
