"""Golden vectors as batches: what an upstream computed, in the words of our types."""

import json
from pathlib import Path
from typing import Any

import torch

from posneg.models.boxes import from_deltas
from posneg.models.heads import boxes_from_dfl, boxes_from_ltrb
from posneg.models.types import Batch, ClassScores, GroundTruth, Predictions

FOLDER = Path(__file__).parents[1] / "data" / "goldens"
F64 = torch.float64


def names(*prefixes: str) -> list[str]:
    """The files that start with one of `prefixes`, sorted."""
    return sorted(p.stem for p in FOLDER.glob("*.json") if p.stem.startswith(prefixes))


def load(name: str) -> dict[str, Any]:
    """One file; NaN and infinities, strings there, become numbers."""
    return _numbers(json.loads((FOLDER / f"{name}.json").read_text()))


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _numbers(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_numbers(v) for v in value]
    return float(value) if value in ("NaN", "Infinity", "-Infinity") else value


def tensor(values: Any, *shape: int) -> torch.Tensor:
    """A float64 tensor of a given shape, also from an empty list."""
    return torch.tensor(values, dtype=F64).reshape(*shape)


def ground_truth(images: list[dict[str, Any]]) -> GroundTruth:
    """Boxes and labels of all images, ignored boxes after the others of their image."""
    boxes, labels, image, ignore = [], [], [], []
    for number, one in enumerate(images):
        truth, regions = one.get("gt_boxes") or [], one.get("ignore_boxes") or []
        boxes += truth + regions
        labels += (one.get("gt_labels") or []) + [0] * len(regions)
        image += [number] * (len(truth) + len(regions))
        ignore += [False] * len(truth) + [True] * len(regions)
    return GroundTruth(
        boxes=tensor(boxes, -1, 4),
        labels=torch.tensor(labels, dtype=torch.long),
        image=torch.tensor(image, dtype=torch.long),
        ignore=torch.tensor(ignore, dtype=torch.bool),
        weight=torch.ones(len(boxes), dtype=F64),
    )


def assignment_batch(golden: dict[str, Any]) -> Batch:
    """The batch of a file of kind `assign`."""
    images = golden["inputs"]["images"]
    classes = golden["inputs"]["num_classes"]
    columns: dict[str, list[torch.Tensor]] = {}
    for number, one in enumerate(images):
        anchors = one.get("priors")
        boxes = tensor(one.get("pred_boxes") or anchors, -1, 4)
        count = len(boxes)
        centers = (boxes[:, :2] + boxes[:, 2:]) / 2
        if anchors is not None:
            centers = (tensor(anchors, -1, 4)[:, :2] + tensor(anchors, -1, 4)[:, 2:]) / 2
        scores = one.get("pred_scores")
        for name, value in {
            "boxes": boxes,
            "scores": tensor(scores, -1, classes) if scores else torch.zeros(count, classes, dtype=F64),
            "image": torch.full((count,), number),
            "points": tensor(one["anchor_points"], -1, 2) if one.get("anchor_points") else centers,
            "strides": tensor(one.get("strides") or [1.0] * count, -1),
            "anchors": tensor(anchors, -1, 4) if anchors is not None else boxes,
        }.items():
            columns.setdefault(name, []).append(value)
    joined = {name: torch.cat(values) for name, values in columns.items()}
    scores = ClassScores(probabilities=joined.pop("scores"))
    return Batch(
        predictions=Predictions(scores=scores, **joined),
        ground_truth=ground_truth(images),
        images=len(images),
    )


def yolov8_batch(golden: dict[str, Any]) -> tuple[Batch, dict[str, torch.Tensor]]:
    """The batch of a v8 criterion, and the leaves that its gradients are taken of ([B, N, ...])."""
    config, inputs = golden["config"], golden["inputs"]
    height, width = config["height"], config["width"]
    points, strides = grid(config["strides"], height, width)
    bins, count = config["reg_max"], len(points)
    raw = tensor(inputs["pred_boxes_raw"], -1, 4, bins, count).permute(0, 3, 1, 2).contiguous()
    logits = tensor(inputs["pred_scores_raw"], len(raw), -1, count).transpose(1, 2).contiguous()
    leaves = {"boxes": raw.requires_grad_(), "scores": logits.requires_grad_()}
    images = len(raw)
    flat = {"points": points.repeat(images, 1), "strides": strides.repeat(images)}
    sides = raw.reshape(-1, 4, bins)
    extra: dict[str, Any]
    if bins > 1:
        extra = {"dfl": sides, "boxes": boxes_from_dfl(sides, **flat)}
    else:
        extra = {"ltrb": sides[..., 0], "boxes": boxes_from_ltrb(sides[..., 0], **flat)}
    predictions = Predictions(
        scores=ClassScores(logits=logits.reshape(-1, logits.shape[-1])),
        image=torch.arange(images).repeat_interleave(count),
        extent=tensor([[width, height]], 1, 2).expand(images * count, 2),
        **flat,
        **extra,
    )
    scale = torch.tensor([width, height, width, height], dtype=F64)
    centered = tensor(inputs["bboxes_cxcywh_norm"], -1, 4) * scale
    boxes = torch.cat([centered[:, :2] - centered[:, 2:] / 2, centered[:, :2] + centered[:, 2:] / 2], 1)
    order = torch.tensor(inputs["batch_idx"], dtype=torch.long).sort(stable=True).indices
    truth = GroundTruth(
        boxes=boxes[order],
        labels=torch.tensor(inputs["cls"], dtype=torch.long)[order],
        image=torch.tensor(inputs["batch_idx"], dtype=torch.long)[order],
        ignore=torch.zeros(len(boxes), dtype=torch.bool),
        weight=torch.ones(len(boxes), dtype=F64),
    )
    return Batch(predictions=predictions, ground_truth=truth, images=images), leaves


def retinanet_batch(golden: dict[str, Any]) -> tuple[Batch, dict[str, torch.Tensor]]:
    """The batch of a RetinaNet criterion, and the leaves that its gradients are taken of ([B, N, ...])."""
    images = golden["inputs"]["images"]
    anchors = tensor(golden["inputs"]["anchors"], -1, 4)
    deltas = tensor([one["bbox_regression"] for one in images], len(images), -1, 4).requires_grad_()
    logits = tensor([one["cls_logits"] for one in images], len(images), len(anchors), -1).requires_grad_()
    repeated = anchors.repeat(len(images), 1)
    flat = deltas.reshape(-1, 4)
    predictions = Predictions(
        boxes=from_deltas(repeated, flat),
        scores=ClassScores(logits=logits.reshape(-1, logits.shape[-1])),
        image=torch.arange(len(images)).repeat_interleave(len(anchors)),
        points=(repeated[:, :2] + repeated[:, 2:]) / 2,
        strides=torch.ones(len(repeated), dtype=F64),
        anchors=repeated,
        deltas=flat,
    )
    batch = Batch(predictions=predictions, ground_truth=ground_truth(images), images=len(images))
    return batch, {"bbox_regression": deltas, "cls_logits": logits}


def grid(strides: list[int], height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cell centres in raster order, level by level, and the stride of each."""
    points, spacing = [], []
    for stride in strides:
        y, x = torch.meshgrid(
            torch.arange(height // stride, dtype=F64), torch.arange(width // stride, dtype=F64), indexing="ij"
        )
        cells = torch.stack([x, y], -1).reshape(-1, 2)
        points.append((cells + 0.5) * stride)
        spacing.append(torch.full((len(cells),), float(stride), dtype=F64))
    return torch.cat(points), torch.cat(spacing)
