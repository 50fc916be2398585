"""Images in, detections out: what happens to an image before and after its run. Blocks, so threads do it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from posneg.models.detections import Detections
from posneg.models.imaging import Placement, decode, letterbox
from posneg.service.serving.inputs import Array, tensor_of
from posneg.service.serving.layouts import detections
from posneg.service.serving.loaded import Detector


@dataclass(frozen=True, slots=True)
class Prepared:
    """One image as the model's input, and where it lies in it."""

    tensor: Array
    placement: Placement


def prepare(data: bytes, detector: Detector, *, max_pixels: int) -> Prepared:
    """Decode, letterbox, scale; raises `ImageError` for what is no image."""
    boxed, placement = letterbox(decode(data, max_pixels=max_pixels), detector.input_size)
    return Prepared(tensor_of(boxed, detector.image, detector.preprocessing), placement)


def feeds_of(prepared: Prepared, detector: Detector, inputs: Sequence[dict[str, Any]]) -> dict[str, Array]:
    """Everything that the graph takes for one image; a fixed batch is filled with copies of it."""
    rows = detector.image.rows or 1
    height, width = detector.input_size
    feeds = {detector.image.name: np.repeat(prepared.tensor, rows, axis=0)}
    for tensor in inputs:
        if (
            tensor["name"] != detector.image.name
        ):  # the size in whose pixels boxes are wanted, as width, height
            kind = np.int64 if tensor["datatype"] == "INT64" else np.int32
            feeds[tensor["name"]] = np.array([[width, height]] * rows, kind)
    return feeds


def finish(
    outputs: Mapping[str, Array], prepared: Prepared, detector: Detector, *, score: float, iou: float
) -> Detections:
    """What the outputs say of the first row, in pixels of the image as it was sent."""
    found = detections(
        detector.layout,
        {name: output[0] for name, output in outputs.items()},
        detector.input_size,
        score=score,
        iou=iou,
    )
    boxes = prepared.placement.to_image(found.boxes)
    return Detections(boxes=boxes, scores=found.scores, labels=found.labels)
