"""What the inputs of a loss hash to, whatever the order of rows and images and the spelling of numbers."""

import hashlib
from collections.abc import Iterable, Iterator

import numpy as np

from posneg.service.schemas.loss_input import GroundTruthInput, ImageInput, LossInput, PredictionsInput


def fingerprint(request: LossInput) -> dict[str, str]:
    """SHA-256 of the ground truth (classes and sizes included) and of the predictions."""
    frame = repr((request.classes, request.box_format)).encode()
    ground_truth = (_image(i, _ground_truth_rows(i.ground_truth)) for i in request.images)
    predictions = (_image(i, _prediction_rows(i.predictions)) for i in request.images)
    return {
        "ground_truth": hashlib.sha256(frame + _multiset(ground_truth)).hexdigest(),
        "predictions": hashlib.sha256(_multiset(predictions)).hexdigest(),
    }


def _multiset(rows: Iterable[bytes]) -> bytes:
    return b"".join(sorted(hashlib.blake2b(row, digest_size=16).digest() for row in rows))


def _image(image: ImageInput, rows: Iterable[bytes]) -> bytes:
    return repr((image.id, image.size)).encode() + _multiset(rows)


def _ground_truth_rows(truth: GroundTruthInput) -> Iterator[bytes]:
    numbers = np.column_stack([truth.boxes.reshape(-1, 4), truth.labels, truth.ignore, truth.weight]) + 0.0
    for row, identity, soft in zip(numbers, truth.ids, truth.soft_labels, strict=True):
        yield row.tobytes() + repr((identity, sorted(soft.items()) if soft else None)).encode()


def _prediction_rows(predictions: PredictionsInput) -> Iterator[bytes]:
    count = predictions.count
    if not count:
        return
    columns = dict(sorted(predictions.columns.items()))
    if predictions.given is not None:
        columns["given"] = predictions.given.astype(np.float64)
    if predictions.labels is not None:
        columns["labels"] = predictions.labels.astype(np.float64)
    if predictions.sampled is not None:
        columns["sampled"] = np.isin(np.arange(count), predictions.sampled).astype(np.float64)
    names = repr(sorted(columns)).encode()
    # Adding zero turns -0.0 into 0.0: they are equal numbers, so they must not hash apart.
    wide = [np.asarray(column, dtype=np.float64).reshape(count, -1) + 0.0 for column in columns.values()]
    numbers = np.concatenate(wide, axis=1)
    ids = predictions.ids or [None] * count
    for row, identity in zip(numbers, ids, strict=True):
        yield names + row.tobytes() + repr(identity).encode()
