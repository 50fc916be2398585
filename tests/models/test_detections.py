"""Non-maximum suppression against an obvious reference, and COCO rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posneg.models.detections import Detections, coco_rows, iou, non_maximum_suppression


def overlap(a: list[float], b: list[float]) -> float:
    """IoU of two boxes, spelled out."""
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union if union > 0 else 0.0


def reference(
    boxes: np.ndarray, scores: np.ndarray, score_threshold: float, iou_threshold: float, limit: int
) -> list[tuple[int, int]]:
    """(row, class) of what is kept: all candidates, best first, each against all that were kept."""
    candidates = [
        (row, label)
        for row in range(scores.shape[0])
        for label in range(scores.shape[1])
        if scores[row, label] > score_threshold
    ]
    candidates.sort(key=lambda c: -scores[c])  # stable: ties keep the order of index
    kept: list[tuple[int, int]] = []
    for row, label in candidates:
        rivals = [boxes[other].tolist() for other, its_label in kept if its_label == label]
        if all(overlap(boxes[row].tolist(), rival) <= iou_threshold for rival in rivals):
            kept.append((row, label))
    return kept[:limit]


@st.composite
def heads(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Boxes that crowd, with scores that tie."""
    count, classes = draw(st.integers(0, 40)), draw(st.integers(1, 3))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    corner = generator.integers(0, 12, (count, 2)).astype(float)
    size = generator.integers(0, 10, (count, 2)).astype(float)
    scores = generator.integers(0, 8, (count, classes)) / 8
    return np.concatenate([corner, corner + size], axis=1), scores


@given(
    head=heads(),
    score_threshold=st.sampled_from([0.0, 0.25, 0.5]),
    iou_threshold=st.sampled_from([0.0, 0.45, 0.7, 1.0]),
    limit=st.integers(1, 50),
)
def test_suppression_equals_the_obvious_reference(
    head: tuple[np.ndarray, np.ndarray], score_threshold: float, iou_threshold: float, limit: int
) -> None:
    """The same rows in the same order, ties included."""
    boxes, scores = head

    found = non_maximum_suppression(
        boxes, scores, score_threshold=score_threshold, iou_threshold=iou_threshold, max_detections=limit
    )

    expected = reference(boxes, scores, score_threshold, iou_threshold, limit)
    assert found.labels.tolist() == [label for _, label in expected]
    np.testing.assert_array_equal(found.boxes, boxes[[row for row, _ in expected]].reshape(-1, 4))
    np.testing.assert_array_equal(found.scores, np.array([scores[c] for c in expected]))


@given(head=heads(), iou_threshold=st.floats(0, 1))
def test_suppression_keeps_no_pair_above_the_threshold(
    head: tuple[np.ndarray, np.ndarray], iou_threshold: float
) -> None:
    """Scores fall; two kept boxes of one class overlap by no more than the threshold."""
    found = non_maximum_suppression(*head, score_threshold=0.1, iou_threshold=iou_threshold)

    assert (np.diff(found.scores) <= 0).all()
    pairs = np.triu(iou(found.boxes, found.boxes), 1)
    assert (pairs[found.labels[:, None] == found.labels[None, :]] <= iou_threshold).all()


@pytest.mark.parametrize("count", [255, 256, 257, 1000])
def test_suppression_reaches_across_blocks(count: int) -> None:
    """More candidates than are compared at once; copies of a few boxes leave those few."""
    generator = np.random.default_rng(0)
    places = generator.permutation(np.arange(count) % 5)
    boxes = np.stack([places * 20.0, places * 0.0, places * 20.0 + 10, places * 0.0 + 10], axis=1)
    scores = generator.random((count, 1))

    found = non_maximum_suppression(boxes, scores, score_threshold=0.0)

    assert sorted(found.boxes[:, 0].tolist()) == [0, 20, 40, 60, 80]
    assert found.scores[0] == scores.max()


def test_one_class_per_box_gives_its_best_class() -> None:
    """Otherwise every class above the threshold is a detection."""
    boxes, scores = np.array([[0.0, 0.0, 9.0, 9.0]]), np.array([[0.5, 0.9, 0.1]])

    best = non_maximum_suppression(boxes, scores, one_class_per_box=True)

    assert best.labels.tolist() == [1]
    assert non_maximum_suppression(boxes, scores).labels.tolist() == [1, 0]


def test_values_that_are_not_finite_are_left_out() -> None:
    """NaN or infinity in a box or a score never reaches the answer."""
    boxes = np.array([[0, 0, 9, 9], [np.nan, 0, 9, 9], [20, 20, np.inf, 29], [40, 40, 49, 49.0]])
    scores = np.array([[np.nan], [0.9], [0.9], [0.8]])

    for one_class in (False, True):
        found = non_maximum_suppression(boxes, scores, one_class_per_box=one_class)
        assert found.boxes.tolist() == [[40, 40, 49, 49]]


@pytest.mark.parametrize("shape", [(0, 3), (5, 0), (5, 3)])
def test_nothing_above_the_threshold_is_an_empty_answer(shape: tuple[int, int]) -> None:
    """No boxes, no classes, or low scores."""
    found = non_maximum_suppression(np.zeros((shape[0], 4)), np.zeros(shape))

    assert len(found) == 0
    assert found.boxes.shape == (0, 4)


def test_the_best_candidates_alone_are_weighed() -> None:
    """`max_candidates` bounds the work."""
    boxes = np.array([[x, 0.0, x + 5.0, 5.0] for x in range(0, 100, 10)])
    scores = np.linspace(0.3, 0.9, 10)[:, None]

    found = non_maximum_suppression(boxes, scores, max_candidates=3)

    assert found.scores.tolist() == scores[:-4:-1, 0].tolist()


def test_coco_rows_are_xywh_with_the_sets_own_ids() -> None:
    """Class index 1 is category 7."""
    found = Detections(
        boxes=np.array([[10.0, 20.0, 30.0, 60.0]]), scores=np.array([0.5]), labels=np.array([1])
    )

    rows = coco_rows(found, image_id=3, category_ids=[1, 7])

    assert rows == [{"image_id": 3, "category_id": 7, "bbox": [10.0, 20.0, 20.0, 40.0], "score": 0.5}]
