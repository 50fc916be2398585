"""Inputs that each kind of loss takes, three rows of each, and what a loss refuses."""

from typing import Any

import pytest

from posneg.models.losses import kind_of
from posneg.service.engine.loss_function import evaluate
from posneg.service.errors import InvalidRequest

Json = dict[str, Any]

LOGITS = [[0.5, -1.0, 2.0], [3.0, 0.25, -0.5], [0.0, 0.0, 0.0]]
SOFT = [[0.0, 0.0, 0.75], [0.5, 0.0, 0.0], [0.0, 0.0, 0.0]]
OWN = [[0, 0, 1], [1, 0, 0], [0, 0, 0]]
LABELS = [2, 0, 3]
BOXES, TRUTH = [[0, 0, 10, 10], [5, 5, 9, 12], [0, 0, 4, 4]], [[1, 1, 9, 11], [4, 6, 9, 10], [20, 20, 30, 30]]
BINS = [[float((5 * row + 3 * bin_) % 7) / 2 for bin_ in range(4)] for row in range(12)]
SIDES = [[0.5, 1.25, 2.0, 0.0], [1.0, 2.5, 0.75, 1.5], [2.9, 0.1, 1.0, 2.0]]
VALID: dict[str, Json] = {
    "classification": {"logits": LOGITS, "targets": SOFT},
    "softmax": {"logits": LOGITS, "labels": [2, 0, 1]},
    "overlap": {"pred_boxes": BOXES, "target_boxes": TRUTH},
    "coordinates": {"pred": BOXES, "target": TRUTH},
    "logit": {"logits": [0.5, -2.0, 0.0], "targets": [1.0, 0.0, 0.25]},
    "distribution": {"logits": [BINS[0:4], BINS[4:8], BINS[8:12]], "target": SIDES},
}
"""Three rows of each kind; the prediction comes first."""


def valid(name: str) -> Json:
    """Inputs that the loss takes."""
    return VALID[kind_of(name)]


def refused(name: str, **request: Any) -> dict[str, str]:
    """Pointer → code of every fault."""
    with pytest.raises(InvalidRequest) as caught:
        evaluate(name, request)
    return {fault.pointer: fault.code for fault in caught.value.faults}
