"""The answer to POST /v1/coverage: per size of the input, which boxes its grid of points reaches."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posneg.models.explain.coverage import candidates, placed, reaching_stride
from posneg.service.schemas.coverage import CoverageInput, read_coverage
from posneg.service.schemas.images import ReadImage
from posneg.service.schemas.loss_input import BoxFormat, Flags, Floats, Integers

Json = dict[str, Any]
QUANTILES = {"min": 0.0, "p10": 0.1, "p50": 0.5, "p90": 0.9, "max": 1.0}
SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, np.inf)}
"""COCO's limits of areas, in square pixels of the image."""
MAX_LISTED = 10_000
"""Unreachable boxes that are listed for one size of the input."""


@dataclass(frozen=True, slots=True)
class Truth:
    """The boxes that predictions would answer for, one after another: xyxy in pixels, [G, 4]."""

    boxes: Floats
    sizes: Floats  # [G, 2], (height, width) of each box's image
    image: Integers
    index: Integers  # among the image's ground truth as sent
    label: Integers

    @property
    def finite(self) -> Flags:
        """Boxes that are numbers."""
        return np.asarray(np.isfinite(self.boxes).all(1))

    @property
    def degenerate(self) -> Flags:
        """Boxes without area."""
        return np.asarray((self.boxes[:, 2:] <= self.boxes[:, :2]).any(1))


def coverage(document: Any) -> Json:  # noqa: ANN401 - any JSON value
    """The body of the answer; raises `InvalidRequest` for every fault at once."""
    request = read_coverage(document)
    truth = _truth(request)
    all_boxes = sum(len(image.ground_truth.boxes) for image in request.images)
    counts = {
        "images": len(request.images),
        "ground_truth": all_boxes,
        "ground_truth_ignored": all_boxes - len(truth.boxes),
    }
    return {
        "input_sizes": [
            {"input_size": echoed, **_covered(request, truth, size)}
            for echoed, size in zip(request.echoed_sizes, request.input_sizes, strict=True)
        ],
        "counts": counts,
        "warnings": [{k: v for k, v in asdict(n).items() if v is not None} for n in request.notices],
        "resolved": {"strides": request.strides, "letterbox": request.letterbox},
    }


def _truth(request: CoverageInput) -> Truth:
    """All boxes but ignored ones."""
    images = [image for image in request.images if len(image.ground_truth.boxes)]
    numbers = [n for n, image in enumerate(request.images) if len(image.ground_truth.boxes)]
    counts = [len(image.ground_truth.boxes) for image in images]
    kept = ~np.concatenate([np.zeros(0, bool), *(image.ground_truth.ignore for image in images)])
    boxes = np.concatenate([np.zeros((0, 4)), *(image.ground_truth.boxes for image in images)])
    sizes = np.array([image.size for image in images], dtype=np.float64).reshape(-1, 2)
    label = np.concatenate([np.zeros(0, np.int64), *(image.ground_truth.labels for image in images)])
    index = np.concatenate([np.zeros(0, np.int64), *map(np.arange, counts)])
    return Truth(
        boxes=_xyxy(boxes, request.box_format)[kept],
        sizes=sizes.repeat(counts, 0)[kept],
        image=np.array(numbers, dtype=np.int64).repeat(counts)[kept],
        index=index[kept],
        label=label[kept],
    )


def _xyxy(boxes: Floats, box_format: BoxFormat) -> Floats:
    first, second = boxes[:, :2], boxes[:, 2:]
    with np.errstate(over="ignore", invalid="ignore"):
        if box_format == "xywh":
            return np.concatenate([first, first + second], 1)
        if box_format == "cxcywh":
            return np.concatenate([first - second / 2, first + second / 2], 1)
    return boxes


def _covered(request: CoverageInput, truth: Truth, size: tuple[float, float]) -> Json:
    boxes = placed(truth.boxes, truth.sizes, size)
    usable = truth.finite & ~truth.degenerate
    found = np.where(usable, candidates(boxes, size, request.strides), 0)
    missed = np.flatnonzero(found == 0)
    listed = missed[:MAX_LISTED]
    wanted = reaching_stride(boxes[listed], size, min(request.strides))
    wanted[~usable[listed]] = np.nan
    return {
        "ground_truth": len(found),
        "unreachable": len(missed),
        "candidates_per_box": _quantiles(found),
        "by_size": _by_size(truth.boxes, found == 0),
        "boxes": _listed(request, truth, listed, wanted),
        "boxes_left_out": len(missed) - len(listed),
    }


def _quantiles(counts: NDArray[np.int64]) -> Json:
    """Each a number that some box has, so that counts stay counts."""
    if not len(counts):
        return dict.fromkeys(QUANTILES)
    found = np.quantile(counts, list(QUANTILES.values()), method="inverted_cdf")
    return dict(zip(QUANTILES, found.tolist(), strict=True))


def _by_size(boxes: Floats, unreachable: Flags) -> Json:
    with np.errstate(over="ignore", invalid="ignore"):
        extents = (boxes[:, 2:] - boxes[:, :2]).clip(min=0)
        area = np.nan_to_num(extents.prod(1), nan=0.0, posinf=np.finfo(np.float64).max)
    within = {name: (area >= low) & (area < high) for name, (low, high) in SIZES.items()}
    return {
        name: {"ground_truth": int(chosen.sum()), "unreachable": int((chosen & unreachable).sum())}
        for name, chosen in within.items()
    }


def _listed(request: CoverageInput, truth: Truth, rows: Integers, strides: Floats) -> list[Json]:
    """The unreachable boxes, each with what would reach it."""
    finite, degenerate = truth.finite, truth.degenerate
    columns = zip(rows.tolist(), strides.tolist(), strict=True)
    return [
        {
            **_reference(request.images, int(truth.image[row]), int(truth.index[row])),
            "label": request.classes[truth.label[row]],
            "reason": _reason(bool(finite[row]), bool(degenerate[row])),
            "smallest_stride_that_reaches": None if np.isnan(stride) else stride,
        }
        for row, stride in columns
    ]


def _reason(finite: bool, degenerate: bool) -> str:
    return "NONFINITE" if not finite else "DEGENERATE" if degenerate else "NO_CENTER_INSIDE"


def _reference(images: Sequence[ReadImage], image: int, index: int) -> Json:
    own = images[image].ground_truth.ids[index]
    return {
        "image": images[image].id,
        "image_index": image,
        "ground_truth": index if own is None else own,
        "ground_truth_index": index,
    }
