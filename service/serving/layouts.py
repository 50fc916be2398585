"""What a detector's outputs mean: the usual export layouts, and how each becomes detections.

A layout gets one image's outputs by name, in the graph's order and without the batch, and the input's
(height, width). C classes, N rows, Q queries.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from posneg.models.detections import Detections, non_maximum_suppression

Array = np.ndarray[Any, Any]
Named = Mapping[str, Array]
MAX_CLASSES = 10_000  # a larger class index is no class
NEVER = 1.0  # an overlap that no pair exceeds: nothing is suppressed
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Boxes xyxy in input pixels and a score for each class."""

    boxes: Float[np.ndarray, "N 4"]
    scores: Float[np.ndarray, "N C"]
    suppress: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One way to write detections down."""

    name: str
    outputs: str
    rows: Callable[[Named, tuple[int, int]], Rows]
    normalisation: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    """What such models expect of pixels in 0..1: `mean` and `std` a channel; empty: as they are."""


def detections(
    layout: Layout, outputs: Named, input_size: tuple[int, int], *, score: float, iou: float
) -> Detections:
    """What one image's outputs say, in input pixels, best first."""
    rows = layout.rows(outputs, input_size)
    return non_maximum_suppression(
        rows.boxes, rows.scores, score_threshold=score, iou_threshold=iou if rows.suppress else NEVER
    )


def _yolov8(outputs: Named, _: tuple[int, int]) -> Rows:
    return _center_rows(_only(outputs).T)


def _yolov8_rows(outputs: Named, _: tuple[int, int]) -> Rows:
    return _center_rows(_only(outputs))


def _center_rows(rows: Float[np.ndarray, "N D"]) -> Rows:
    return Rows(boxes=_corners(rows[:, :4]), scores=rows[:, 4:])


def _yolov5(outputs: Named, _: tuple[int, int]) -> Rows:
    rows = _only(outputs)
    return Rows(boxes=_corners(rows[:, :4]), scores=rows[:, 4:5] * rows[:, 5:])


def _end_to_end(outputs: Named, _: tuple[int, int]) -> Rows:
    rows = _only(outputs)
    return Rows(boxes=rows[:, :4], scores=_one_hot(rows[:, 4], rows[:, 5]), suppress=False)


def _end_to_end_lists(outputs: Named, _: tuple[int, int]) -> Rows:
    """Boxes, scores and labels apart, in any order: labels are the integers, or the later of two lists."""
    boxes = next(output for output in outputs.values() if output.ndim == 2)
    lists = [output for output in outputs.values() if output.ndim == 1]
    scores, labels = sorted(lists, key=lambda output: np.issubdtype(output.dtype, np.integer))
    return Rows(boxes=boxes.astype(np.float32), scores=_one_hot(scores, labels), suppress=False)


def _only(outputs: Named) -> Array:
    (output,) = outputs.values()
    return output.astype(np.float32, copy=False)


def _detr(outputs: Named, input_size: tuple[int, int]) -> Rows:
    """Softmax over the classes and, last, no object. Carion et al., ECCV 2020, arXiv:2005.12872."""
    boxes, logits = _boxes_and_logits(outputs)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return _queries(boxes, (weights / weights.sum(axis=1, keepdims=True))[:, :-1], input_size)


def _rtdetr(outputs: Named, input_size: tuple[int, int]) -> Rows:
    boxes, logits = _boxes_and_logits(outputs)
    return _queries(boxes, 1 / (1 + np.exp(-logits.clip(-80, 80))), input_size)


def _queries(boxes: Array, scores: Array, input_size: tuple[int, int]) -> Rows:
    """Boxes are cx, cy, w, h as shares of the input; a set prediction needs no suppression."""
    height, width = input_size
    pixels = _corners(boxes) * np.array((width, height, width, height), np.float32)
    return Rows(boxes=pixels, scores=scores, suppress=False)


def _boxes_and_logits(outputs: Named) -> tuple[Array, Array]:
    """Boxes have four columns; where logits have as many, they go by their name."""

    def is_logits(name: str) -> tuple[bool, bool]:
        return outputs[name].shape[1] != 4, not any(word in name.lower() for word in ("box", "det"))

    boxes, logits = (outputs[name] for name in sorted(outputs, key=is_logits))
    return boxes.astype(np.float32), logits.astype(np.float32)


def _corners(boxes: Float[np.ndarray, "N 4"]) -> Float[np.ndarray, "N 4"]:
    center, half = boxes[:, :2], boxes[:, 2:] / 2
    return np.concatenate([center - half, center + half], axis=1)


def _one_hot(scores: Float[np.ndarray, "N"], labels: Array) -> Float[np.ndarray, "N C"]:
    """Each row's score in the column of its label; rows without a label have no score."""
    columns = np.nan_to_num(labels, nan=-1).astype(np.int64)
    known = (columns >= 0) & (columns < MAX_CLASSES)
    table = np.zeros((len(scores), columns[known].max(initial=0) + 1), np.float32)
    table[np.flatnonzero(known), columns[known]] = scores[known]
    return table


LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout(name="yolov8", outputs="[B, 4+C, N]: cx, cy, w, h, probabilities", rows=_yolov8),
        Layout(name="yolov8_rows", outputs="[B, N, 4+C]: the same, a row each", rows=_yolov8_rows),
        Layout(name="yolov5", outputs="[B, N, 5+C]: cx, cy, w, h, objectness, probabilities", rows=_yolov5),
        Layout(name="end_to_end", outputs="[B, N, 6]: x1, y1, x2, y2, score, class", rows=_end_to_end),
        Layout(
            name="end_to_end_lists",
            outputs="boxes [B, N, 4] xyxy, scores [B, N], labels [B, N]",
            rows=_end_to_end_lists,
        ),
        Layout(
            name="detr",
            outputs="boxes [B, Q, 4] as shares of the input, logits [B, Q, C+1] (softmax, no object last)",
            rows=_detr,
            normalisation=IMAGENET,
        ),
        Layout(
            name="rtdetr",
            outputs="boxes [B, Q, 4] as shares of the input, logits [B, Q, C] (sigmoid)",
            rows=_rtdetr,
        ),
        Layout(
            name="rfdetr",
            outputs="as rtdetr, on pixels normalised by ImageNet's mean and deviation",
            rows=_rtdetr,
            normalisation=IMAGENET,
        ),
    )
}


def recognise(
    shapes: Mapping[str, Sequence[int]], *, classes: int | None, input_size: tuple[int, int]
) -> str | None:
    """The layout of outputs with these shapes (for one image, batch first); None where no layout fits.

    `classes` is the number of labels, where known: it tells a column of objectness from one of a class.
    """
    found = list(shapes.values())
    if len(found) == 1 and len(found[0]) == 3:
        return _recognise_single(found[0][1], found[0][2], classes, input_size)
    ranks = sorted(len(shape) for shape in found)
    if ranks == [2, 2, 3] and any(len(shape) == 3 and shape[2] == 4 for shape in found):
        return "end_to_end_lists"
    if ranks == [3, 3] and any(shape[2] == 4 for shape in found):
        return _recognise_queries(shapes, classes)
    return None


def _recognise_single(rows: int, columns: int, classes: int | None, size: tuple[int, int]) -> str | None:
    points = _grid_points(size)
    if columns == 6 and rows not in (points, 3 * points):
        return "end_to_end"
    if classes is not None and 4 + classes in (rows, columns):
        return "yolov8" if rows == 4 + classes else "yolov8_rows"
    if classes is not None and columns == 5 + classes:
        return "yolov5"
    if 5 <= rows < columns:
        return "yolov8"
    if 5 <= columns < rows:
        return "yolov5" if rows == 3 * points and columns > 5 else "yolov8_rows"
    return None


def _recognise_queries(shapes: Mapping[str, Sequence[int]], classes: int | None) -> str:
    if set(shapes) == {"dets", "labels"}:  # how RF-DETR names its outputs
        return "rfdetr"
    columns = max(shape[2] for shape in shapes.values())
    return "detr" if classes is not None and columns == classes + 1 else "rtdetr"


def _grid_points(size: tuple[int, int]) -> int:
    """Cells of the three usual levels: an anchor-free head has a row each, YOLOv5 three."""
    return sum((size[0] // stride) * (size[1] // stride) for stride in (8, 16, 32))
