"""Average precision as COCO has it."""

from pathlib import Path

import numpy as np
import pytest

from posneg.models.data.dataset import Sample
from posneg.models.detections import Detections
from posneg.models.training.evaluation import metrics

CLASSES = ("cat", "dog", "cow")


def sample(boxes: list[list[float]], labels: list[int], crowd: list[bool] | None = None) -> Sample:
    return Sample(
        id="image",
        file=Path("image.png"),
        size=(100, 100),
        boxes=np.array(boxes, float).reshape(-1, 4),
        labels=np.array(labels, np.int64),
        crowd=np.array(crowd if crowd is not None else [False] * len(labels), bool),
    )


def found(boxes: list[list[float]], labels: list[int], scores: list[float]) -> Detections:
    return Detections(
        boxes=np.array(boxes, float).reshape(-1, 4),
        labels=np.array(labels, np.int64),
        scores=np.array(scores, float),
    )


A, B, C = [10, 10, 30, 30], [50, 50, 90, 80], [60, 5, 80, 25]


def test_finding_everything_is_1() -> None:
    """Exactly the ground truth; a class without any has no figure and does not count."""
    truth = [sample([A, B], [0, 1]), sample([], [])]
    result = metrics([found([A, B], [0, 1], [0.9, 0.8]), found([], [], [])], truth, CLASSES)

    assert result.map == pytest.approx(1)
    assert result.map50 == pytest.approx(1)
    assert result.map75 == pytest.approx(1)
    assert result.by_class["cat"].map == pytest.approx(1)
    assert result.by_class["cow"].map is None
    assert [c.ground_truth for c in result.by_class.values()] == [1, 1, 0]


def test_finding_nothing_is_0_and_nothing_to_find_is_unknown() -> None:
    """Both without a single detection, and with some where there is nothing."""
    assert metrics([found([], [], [])], [sample([A], [0])], CLASSES).map == 0
    for nothing in (found([], [], []), found([A], [0], [0.9])):
        result = metrics([nothing], [sample([], [])], CLASSES)
        assert (result.map, result.map50, result.map75) == (None, None, None)


def test_a_box_off_by_a_fifth_counts_at_half_but_not_at_three_quarters() -> None:
    """IoU 0.6 passes the thresholds 0.5, 0.55 and 0.6 (three of ten)."""
    truth, shifted = sample([[0, 0, 10, 10]], [0]), found([[2.5, 0, 12.5, 10]], [0], [0.9])
    result = metrics([shifted], [truth], CLASSES)

    assert result.map50 == pytest.approx(1)
    assert result.map75 == 0
    assert result.map == pytest.approx(0.3)


def test_a_false_alarm_costs_by_its_rank() -> None:
    """Below all true finds it costs nothing, above them it halves the precision."""
    truth = [sample([A], [0])]
    below = metrics([found([A, B], [0, 0], [0.9, 0.1])], truth, CLASSES)
    above = metrics([found([A, B], [0, 0], [0.1, 0.9])], truth, CLASSES)

    assert below.map == pytest.approx(1)
    assert above.map == pytest.approx(0.5)


def test_crowds_count_neither_way() -> None:
    """Detections inside are no false alarms, and missing them costs nothing."""
    truth = [sample([A, [40, 40, 100, 100]], [0, 0], [False, True])]
    missing = metrics([found([A], [0], [0.5])], truth, CLASSES)
    inside = metrics([found([A, B], [0, 0], [0.5, 0.9])], truth, CLASSES)

    assert missing.map == pytest.approx(1)
    assert inside.map == pytest.approx(1)
    assert inside.by_class["cat"].ground_truth == 1
