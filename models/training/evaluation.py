"""Average precision of a detector, as COCO defines it, in pixels of the images as they are on disk."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from faster_coco_eval import COCO, COCOeval_faster
from jaxtyping import Float
from torch import Tensor

from posneg.models.data.dataset import Sample
from posneg.models.data.loading import Examples
from posneg.models.detections import Detections, coco_rows, non_maximum_suppression
from posneg.models.detectors._contract import Detector

SCORE_THRESHOLD = 0.001
IOU_THRESHOLD = 0.7
MAX_DETECTIONS = 300
BATCH_SIZE = 16
AP50, AP75 = 0, 5  # positions among COCO's ten IoU thresholds


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassMetrics:
    """One class: AP (0..1; None without ground truth) over IoU 0.5 to 0.95, and at 0.5."""

    map: float | None
    map50: float | None
    ground_truth: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """AP over all classes that have ground truth (0..1; None where none has), and by class name."""

    map: float | None
    map50: float | None
    map75: float | None
    by_class: dict[str, ClassMetrics]


class Stopped(Exception):
    """The caller asked to stop before the evaluation was done."""


def evaluate(
    network: Detector,
    examples: Examples,
    classes: Sequence[str],
    *,
    device: torch.device,
    should_stop: Callable[[], bool] = lambda: False,
) -> Metrics:
    """The metrics of a network in evaluation mode; raises `Stopped` when `should_stop` turns true."""
    found = []
    for first in range(0, len(examples), BATCH_SIZE):
        if should_stop():
            raise Stopped
        found += detect(
            network, examples, range(first, min(first + BATCH_SIZE, len(examples))), device=device
        )
    return metrics(found, examples.samples, classes)


@torch.no_grad()
def detect(
    network: Detector, examples: Examples, indices: Sequence[int], *, device: torch.device
) -> list[Detections]:
    """What the network finds in some of the images, in pixels of the images."""
    inputs = [examples.letterboxed(index) for index in indices]
    images = torch.from_numpy(np.stack([pixels for pixels, _ in inputs])).to(device)
    boxes, scores = network.decode(network(as_input(images)))
    found = []
    for (_, placement), image_boxes, image_scores in zip(
        inputs, boxes.cpu().numpy(), scores.cpu().numpy(), strict=True
    ):
        kept = non_maximum_suppression(
            image_boxes,
            image_scores,
            score_threshold=SCORE_THRESHOLD,
            iou_threshold=IOU_THRESHOLD,
            max_detections=MAX_DETECTIONS,
        )
        found.append(Detections(boxes=placement.to_image(kept.boxes), scores=kept.scores, labels=kept.labels))
    return found


def as_input(images: Tensor) -> Float[Tensor, "B 3 H W"]:
    """Images as stored, uint8 [B, H, W, 3], as a network takes them: 0..1, the channels last in memory."""
    return images.permute(0, 3, 1, 2).float().div_(255)


def metrics(found: Sequence[Detections], samples: Sequence[Sample], classes: Sequence[str]) -> Metrics:
    """COCO's metrics of detections against samples, image by image; crowd regions count neither way."""
    counts = np.zeros(len(classes), int)
    for sample in samples:
        counts += np.bincount(sample.labels[~sample.crowd], minlength=len(classes))
    precision = _precision(found, samples, classes)
    by_class = {
        name: ClassMetrics(
            map=_mean(precision[:, :, index]),
            map50=_mean(precision[AP50, :, index]),
            ground_truth=int(counts[index]),
        )
        for index, name in enumerate(classes)
    }
    return Metrics(
        map=_mean(precision), map50=_mean(precision[AP50]), map75=_mean(precision[AP75]), by_class=by_class
    )


def _precision(
    found: Sequence[Detections], samples: Sequence[Sample], classes: Sequence[str]
) -> Float[np.ndarray, "T R C"]:
    """Precision by IoU threshold, recall and class; -1 where a class has no ground truth."""
    truth = COCO(_coco_truth(samples, classes))
    ids = list(range(1, len(classes) + 1))
    rows = [
        row
        for image, detections in enumerate(found, start=1)
        for row in coco_rows(detections, image_id=image, category_ids=ids)
    ]
    if not rows:  # the library takes no empty list; a detection that overlaps nothing counts like none
        rows = [{"image_id": 1, "category_id": 1, "bbox": [0.0, 0.0, 0.0, 0.0], "score": 0.0}]
    evaluation = COCOeval_faster(truth, truth.loadRes(rows), "bbox")
    evaluation.params.maxDets = [1, 100, MAX_DETECTIONS]
    evaluation.evaluate()
    evaluation.accumulate()
    everything, most = 0, 2  # the area range and the number of detections
    precision: Float[np.ndarray, "T R C"] = evaluation.eval["precision"][:, :, :, everything, most]
    return precision


def _coco_truth(samples: Sequence[Sample], classes: Sequence[str]) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image, sample in enumerate(samples, start=1):
        height, width = sample.size
        images.append({"id": image, "height": height, "width": width})
        for (x1, y1, x2, y2), label, crowd in zip(
            sample.boxes.tolist(), sample.labels.tolist(), sample.crowd.tolist(), strict=True
        ):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": label + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": int(crowd),
                }
            )
    categories = [{"id": index, "name": name} for index, name in enumerate(classes, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _mean(precision: Float[np.ndarray, "..."]) -> float | None:
    known = precision[precision > -1]
    return float(known.mean()) if len(known) else None
