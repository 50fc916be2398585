"""The assignments inside the criteria that upstreams computed, by the assigners alone."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from posneg.models.assigners import assigner
from posneg.models.boxes import from_deltas, from_distances
from posneg.models.heads import boxes_from_dfl, boxes_from_ltrb, boxes_from_raw
from posneg.models.types import Batch
from tests.models import goldens
from tests.models.test_assigners import by_image, matches

Columns = dict[str, torch.Tensor]
Case = tuple[str, dict[str, Any], Callable[[dict[str, Any], dict[str, Any], dict[str, Any]], Columns]]
"""Assigner, options, and the columns of one image from the file's config, shared inputs and image."""


def by_level(counts: list[int], strides: list[int]) -> torch.Tensor:
    """The stride of each row."""
    return torch.repeat_interleave(goldens.tensor(strides, -1), torch.tensor(counts))


def anchored(config: dict[str, Any], inputs: dict[str, Any], one: dict[str, Any]) -> Columns:
    """Anchors on a grid, and offsets from them."""
    anchors = goldens.tensor(inputs["anchors"], -1, 4)
    deltas = goldens.tensor(one.get("bbox_deltas") or one["bbox_regression"], -1, 4)
    columns = {"anchors": anchors, "boxes": from_deltas(anchors, deltas)}
    columns["logits"] = goldens.tensor(one.get("cls_logits") or [[0.0]] * len(anchors), len(anchors), -1)
    if "num_level" in inputs and "strides" in config:
        columns["strides"] = by_level(inputs["num_level"], config["strides"])
    return columns


def squares(config: dict[str, Any], inputs: dict[str, Any], one: dict[str, Any]) -> Columns:
    """FCOS: distances in strides from the centres of square anchors."""
    anchors = goldens.tensor(inputs["anchors"], -1, 4)
    points = (anchors[:, :2] + anchors[:, 2:]) / 2
    strides = by_level(config["num_anchors_per_level"], config["strides"])
    boxes = boxes_from_ltrb(goldens.tensor(one["bbox_regression"], -1, 4), points, strides)
    logits = goldens.tensor(one["cls_logits"], len(anchors), -1)
    return {"anchors": anchors, "points": points, "strides": strides, "boxes": boxes, "logits": logits}


def rtmdet(config: dict[str, Any], inputs: dict[str, Any], one: dict[str, Any]) -> Columns:
    """Distances in pixels from the corners of cells."""
    priors = goldens.tensor(inputs["priors_xy_stride"], -1, 3)
    boxes = from_distances(priors[:, :2], goldens.tensor(one["pred_distances_px_ltrb"], -1, 4))
    logits = goldens.tensor(one["cls_logits"], len(priors), -1)
    return {"points": priors[:, :2], "strides": priors[:, 2], "boxes": boxes, "logits": logits}


def ppyoloe(config: dict[str, Any], inputs: dict[str, Any], one: dict[str, Any]) -> Columns:
    """Distributions over bins."""
    points, strides = goldens.tensor(inputs["anchor_points"], -1, 2), goldens.tensor(inputs["strides"], -1)
    dfl = goldens.tensor(one["reg_logits"], len(points), 4, -1)
    logits = goldens.tensor(one["cls_logits"], len(points), -1)
    return {
        "points": points,
        "strides": strides,
        "boxes": boxes_from_dfl(dfl, points, strides),
        "logits": logits,
    }


def queries(config: dict[str, Any], inputs: dict[str, Any], one: dict[str, Any]) -> Columns:
    """Boxes as they are."""
    return {
        "boxes": goldens.boxes_of(one, "pred_boxes"),
        "logits": goldens.tensor(one["pred_logits"], len(one["pred_logits"]), -1),
    }


CASES: dict[str, Case] = {
    "crit_atss": ("atss", {"topk": "assigner_topk"}, anchored),
    "crit_rtmdet": ("dynamic_soft_label", {}, rtmdet),
    "crit_ppyoloe": ("task_aligned", {"flavor": "ppdet"}, ppyoloe),
    "crit_fcos": ("center_sampling", {"radius": "center_sampling_radius"}, squares),
    "crit_ssd": (
        "max_iou",
        {"assign_all_ties": False, "positive_iou": "iou_thresh", "negative_iou": "iou_thresh"},
        anchored,
    ),
    "crit_faster": (
        "max_iou",
        {"flavor": "torchvision", "positive_iou": "fg_iou_thresh", "negative_iou": "bg_iou_thresh"},
        anchored,
    ),
    "crit_detr": ("hungarian", {}, queries),
    "crit_rtdetr": ("hungarian", {"flavor": "rtdetr"}, queries),
    "crit_dfine": ("hungarian", {"flavor": "dfine"}, queries),
}


def criterion_batch(golden: dict[str, Any], columns: Callable[..., Columns]) -> Batch:
    """The batch of a file of kind `criterion` that lists its images."""
    config, inputs = golden["config"], golden["inputs"]
    images = [columns(config, inputs, one) for one in inputs["images"]]
    return goldens.batch_of(images, goldens.ground_truth(inputs["images"]))


def yolox_batch(golden: dict[str, Any]) -> Batch:
    """YOLOX's inputs are arrays over images; rows of labels that are zero are padding."""
    inputs = golden["inputs"]
    strides = goldens.tensor(inputs["strides"], -1)
    points = (goldens.tensor(inputs["grid_xy"], -1, 2) + 0.5) * strides[:, None]
    images, truth = [], []
    for number, labels in enumerate(inputs["labels"]):
        raw = goldens.tensor(inputs["raw_boxes"][number], -1, 4)
        images.append(
            {
                "boxes": boxes_from_raw(raw, points, strides),
                "points": points,
                "strides": strides,
                "logits": goldens.tensor(inputs["class_logits"][number], len(points), -1),
                "objectness": goldens.tensor(inputs["objectness_logits"][number], -1),
            }
        )
        real = [row for row in labels if sum(row) > 0]
        boxes = [row[1:] for row in real]
        truth.append({"gt_labels": [int(row[0]) for row in real], "gt_boxes_cxcywh_norm": boxes})
    return goldens.batch_of(images, goldens.ground_truth(truth))


def assert_matched(which: str, options: dict[str, Any], golden: dict[str, Any], batch: Batch) -> None:
    """States, boxes and, where the file has them, overlaps and targets."""
    result = assigner.bind(which, options)(batch.predictions, batch.ground_truth)

    for number, (rows, first_box) in enumerate(by_image(batch)):
        expected = golden["expected"]["images"][number]
        assert matches(result, rows, first_box).tolist() == expected["matched_gt"], f"image {number}"
        for column, ours in {
            "matched_iou": result.iou,
            "matched_iou_anchor_gt": result.iou,
            "quality_target": result.quality,
            "target_score": result.quality,
        }.items():
            if column in expected:
                at = result.positive[rows]
                wanted = goldens.tensor(expected[column], -1)[at]
                torch.testing.assert_close(ours[rows][at], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", goldens.names(*CASES))
def test_criterion_assigns_as_its_upstream(name: str) -> None:
    """Each criterion's matches, from the head's raw output."""
    golden = goldens.load(name)
    which, chosen, columns = next(case for prefix, case in CASES.items() if name.startswith(prefix))
    config = golden["config"]
    options = {k: config[v] if isinstance(v, str) and v in config else v for k, v in chosen.items()} | {
        k: v for k, v in (config.get("assigner_cfg") or {}).items() if k in ("topk", "alpha", "beta")
    }
    if isinstance(config.get("assigner"), dict):
        options |= {k: v for k, v in config["assigner"].items() if k != "eps"}

    assert_matched(which, options, golden, criterion_batch(golden, columns))


@pytest.mark.parametrize("name", goldens.names("crit_yolox"))
def test_yolox_assigns_as_its_upstream(name: str) -> None:
    """With objectness in the cost."""
    golden = goldens.load(name)

    assert_matched("simota", {}, golden, yolox_batch(golden))
