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


def corners(boxes_cxcywh: torch.Tensor) -> torch.Tensor:
    """Boxes xyxy from centres and sizes."""
    center, half = boxes_cxcywh[:, :2], boxes_cxcywh[:, 2:] / 2
    return torch.cat([center - half, center + half], 1)


def boxes_of(one: dict[str, Any], name: str) -> torch.Tensor:
    """Boxes xyxy of an image, however the file has them."""
    if f"{name}_cxcywh_norm" in one:
        return corners(tensor(one[f"{name}_cxcywh_norm"], -1, 4))
    return tensor(one.get(name) or [], -1, 4)


def ground_truth(images: list[dict[str, Any]]) -> GroundTruth:
    """Boxes and labels of all images, ignored boxes after the others of their image."""
    boxes, labels, image, ignore = [], [], [], []
    for number, one in enumerate(images):
        truth, regions = boxes_of(one, "gt_boxes"), boxes_of(one, "ignore_boxes")
        boxes += [truth, regions]
        labels += (one.get("gt_labels") or [0] * len(truth)) + [0] * len(regions)
        image += [number] * (len(truth) + len(regions))
        ignore += [False] * len(truth) + [True] * len(regions)
    return GroundTruth(
        boxes=torch.cat([tensor([], 0, 4), *boxes]),
        labels=torch.tensor(labels, dtype=torch.long),
        image=torch.tensor(image, dtype=torch.long),
        ignore=torch.tensor(ignore, dtype=torch.bool),
        weight=torch.ones(len(image), dtype=F64),
    )


def batch_of(images: list[dict[str, torch.Tensor]], truth: GroundTruth) -> Batch:
    """A batch from the columns of each image; without points, the centres of the anchors."""
    columns = {name: torch.cat([one[name] for one in images]) for name in images[0]}
    scores = ClassScores(probabilities=columns.pop("scores", None), logits=columns.pop("logits", None))
    boxes = columns.get("anchors", columns["boxes"])
    columns.setdefault("points", (boxes[:, :2] + boxes[:, 2:]) / 2)
    columns.setdefault("strides", torch.ones(len(boxes), dtype=F64))
    counts = torch.tensor([len(one["boxes"]) for one in images])
    image = torch.arange(len(images)).repeat_interleave(counts)
    predictions = Predictions(scores=scores, image=image, **columns)
    return Batch(predictions=predictions, ground_truth=truth, images=len(images))


def assignment_batch(golden: dict[str, Any]) -> Batch:
    """The batch of a file of kind `assign`."""
    images = golden["inputs"]["images"]
    columns = []
    for one in images:
        anchors = one.get("priors")
        boxes = (
            boxes_of(one, "pred_boxes")
            if anchors is None
            else tensor(one.get("pred_boxes") or anchors, -1, 4)
        )
        column: dict[str, torch.Tensor] = {"boxes": boxes}
        if one.get("pred_scores") and not one.get("pred_logits"):
            column["scores"] = tensor(one["pred_scores"], len(boxes), -1)
        else:
            classes = golden["inputs"]["num_classes"]
            logits = one.get("pred_logits") or [[0.0] * classes] * len(boxes)
            column["logits"] = tensor(logits, len(boxes), classes)
        optional = {"anchors": anchors, "points": one.get("anchor_points"), "strides": one.get("strides")}
        optional["objectness"] = one.get("pred_objectness_logits")
        shapes = {"anchors": (-1, 4), "points": (-1, 2)}
        column |= {n: tensor(v, *shapes.get(n, (-1,))) for n, v in optional.items() if v is not None}
        columns.append(column)
    return batch_of(columns, ground_truth(images))


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
