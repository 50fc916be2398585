"""Layouts: the same detections, written down in each of the usual ways, come out alike."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posneg.service.serving.layouts import IMAGENET, LAYOUTS, detections, recognise

SIZE = (64, 96)
POINTS = 8 * 12 + 4 * 6 + 2 * 3


def written(name, boxes, labels, scores, classes):
    """Outputs for one image, in the layout `name`, that say these boxes (xyxy px), one class each."""
    table = np.zeros((len(boxes), classes), np.float32)
    table[np.arange(len(boxes)), labels] = scores
    center = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)
    shares = (center / np.array([SIZE[1], SIZE[0]] * 2)).astype(np.float32)
    with np.errstate(divide="ignore"):
        logits = np.log(table) - np.log1p(-table)
    no_object = np.log(1 - table.sum(1, keepdims=True))
    return {
        "yolov8": {"o": np.concatenate([center, table], 1).T},
        "yolov8_rows": {"o": np.concatenate([center, table], 1)},
        "yolov5": {"o": np.concatenate([center, scores[:, None], (table > 0)], 1)},
        "end_to_end": {"o": np.concatenate([boxes, scores[:, None], labels[:, None]], 1)},
        "end_to_end_lists": {"labels": labels, "boxes": boxes, "scores": scores},
        "detr": {"logits": np.concatenate([logits_of(table), no_object], 1), "pred_boxes": shares},
        "rtdetr": {"pred_boxes": shares, "logits": logits},
        "rfdetr": {"dets": shares, "labels": logits},
    }[name]


def logits_of(table):
    """Logits whose softmax, with that of no object beside them, is `table`."""
    return np.log(np.maximum(table, 1e-30))


@pytest.mark.parametrize("name", sorted(LAYOUTS))
@given(seed=st.integers(0, 10_000), number=st.integers(0, 12), classes=st.integers(1, 5))
def test_every_layout_says_the_same(name, seed, number, classes):
    """Boxes, scores and labels survive the way through each layout, best first."""
    random = np.random.default_rng(seed)
    corner = random.random((number, 2)) * [60, 30]
    boxes = np.concatenate([corner, corner + 1 + random.random((number, 2)) * 30], 1).astype(np.float32)
    labels = random.integers(0, classes, number)
    scores = (random.permutation(number) / (number + 1) * 0.5 + 0.3).astype(np.float32)

    outputs = written(name, boxes, labels, scores, classes)
    found = detections(LAYOUTS[name], outputs, SIZE, score=0.25, iou=1.0)

    order = np.argsort(-scores)
    np.testing.assert_allclose(found.boxes, boxes[order], atol=1e-3)
    np.testing.assert_allclose(found.scores, scores[order], atol=1e-5)
    assert found.labels.tolist() == labels[order].tolist()


@pytest.mark.parametrize(
    ("shapes", "classes", "expected"),
    [
        ({"o": (1, 84, 8400)}, None, "yolov8"),
        ({"o": (1, 84, 8400)}, 80, "yolov8"),
        ({"o": (1, 8400, 84)}, None, "yolov8_rows"),
        ({"o": (1, 25200, 85)}, None, "yolov5"),
        ({"o": (1, 25200, 85)}, 80, "yolov5"),
        ({"o": (1, 8400, 85)}, 80, "yolov5"),
        ({"o": (1, 8400, 85)}, 81, "yolov8_rows"),
        ({"o": (1, 300, 6)}, 80, "end_to_end"),
        ({"o": (1, 300, 6)}, None, "end_to_end"),
        ({"o": (1, 0, 6)}, 80, "end_to_end"),
        ({"o": (1, 300, 6)}, 2, "end_to_end"),
        ({"o": (1, 8400, 6)}, 2, "yolov8_rows"),
        ({"o": (1, 25200, 6)}, 1, "yolov5"),
        ({"o": (1, 5, 8400)}, 1, "yolov8"),
        ({"labels": (1, 300), "boxes": (1, 300, 4), "scores": (1, 300)}, None, "end_to_end_lists"),
        ({"logits": (1, 100, 92), "pred_boxes": (1, 100, 4)}, 91, "detr"),
        ({"logits": (1, 300, 80), "pred_boxes": (1, 300, 4)}, 80, "rtdetr"),
        ({"pred_boxes": (1, 300, 4), "logits": (1, 300, 80)}, None, "rtdetr"),
        ({"dets": (1, 300, 4), "labels": (1, 300, 91)}, None, "rfdetr"),
        ({"o": (1, 1000)}, None, None),
        ({"o": (1, 3, 4)}, None, None),
        ({"a": (1, 9), "b": (1, 9)}, None, None),
    ],
)
def test_layouts_are_recognised_by_shape(shapes, classes, expected):
    """The usual exports at 640 px, with and without labels known."""
    assert recognise(shapes, classes=classes, input_size=(640, 640)) == expected


def test_raw_heads_are_suppressed_and_sets_are_not():
    """Two boxes in one place: one where suppression belongs to the layout, both where it was learnt."""
    boxes = np.array([[10, 10, 20, 20], [10, 10, 20, 20]], np.float32)
    labels, scores = np.array([0, 0]), np.array([0.9, 0.8], np.float32)

    kept = {
        name: len(detections(layout, written(name, boxes, labels, scores, 2), SIZE, score=0.25, iou=0.7))
        for name, layout in LAYOUTS.items()
    }

    assert {name for name, number in kept.items() if number == 1} == {"yolov8", "yolov8_rows", "yolov5"}


def test_rows_that_say_nothing_are_left_out():
    """Padding of end-to-end exports: class -1, NaN, or a class beyond all bounds, whatever the score."""
    row = np.array([1, 1, 5, 5, 0.9, 0], np.float32)
    rows = np.stack([row, row, row, row])
    rows[1:, 5] = [-1, np.nan, 1e9]

    found = detections(LAYOUTS["end_to_end"], {"o": rows}, SIZE, score=0.25, iou=0.7)

    assert found.labels.tolist() == [0]


def test_half_precision_comes_out_alike():
    """Outputs in float16, as of a model converted to it."""
    boxes, labels = np.array([[8, 8, 24, 24]], np.float32), np.array([1])
    outputs = written("yolov8", boxes, labels, np.array([0.5], np.float32), 2)

    halves = {name: output.astype(np.float16) for name, output in outputs.items()}
    found = detections(LAYOUTS["yolov8"], halves, SIZE, score=0.25, iou=0.7)

    assert found.boxes.tolist() == boxes.tolist()
    assert found.boxes.dtype == np.float32


def test_only_the_layouts_that_need_it_are_normalised():
    """DETR and RF-DETR were trained on ImageNet's mean and deviation."""
    assert {name for name, layout in LAYOUTS.items() if layout.normalisation == IMAGENET} == {
        "detr",
        "rfdetr",
    }
