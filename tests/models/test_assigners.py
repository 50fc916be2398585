"""Assigners against what their upstreams did."""

from itertools import accumulate, pairwise
from typing import Any

import pytest
import torch

from posneg.models.assigners import assigner
from posneg.models.boxes import to_distances
from posneg.models.types import Assignment, Batch
from tests.models import goldens

FLAVORS = {
    "ultralytics": ("task_aligned", "ultralytics"),
    "mmdet/models/task_modules/assigners/task_aligned_assigner": ("task_aligned", "mmdet"),
    "PaddleDetection": ("task_aligned", "ppdet"),
    "MaxIoUAssigner": ("max_iou", "mmdet"),
    "_utils.py::Matcher": ("max_iou", "torchvision"),
    "ATSSAssigner": ("atss", "mmdet"),
    "YOLOXHead.get_assignments": ("simota", "yolox"),
    "SimOTAAssigner": ("simota", "mmdet"),
    "DynamicSoftLabelAssigner": ("dynamic_soft_label", "mmdet"),
    "FCOS.compute_loss": ("center_sampling", "torchvision"),
    "FCOSHead": ("center_sampling", "mmdet"),
    "loss_for_object_detection.py::HungarianMatcher": ("hungarian", "detr"),
    "loss_rt_detr.py": ("hungarian", "rtdetr"),
    "D-FINE": ("hungarian", "dfine"),
    "rf-detr": ("hungarian", "rfdetr"),
    "HungarianAssigner": ("hungarian", "mmdet"),
}
OPTIONS = {
    "topk": "topk",
    "topk2": "topk2",
    "alpha": "alpha",
    "beta": "beta",
    "pos_iou_thr": "positive_iou",
    "neg_iou_thr": "negative_iou",
    "min_pos_iou": "minimum_positive_iou",
    "match_low_quality": "match_low_quality",
    "gt_max_assign_all": "assign_all_ties",
    "ignore_iof_thr": "ignore_iof_threshold",
    "high": "positive_iou",
    "low": "negative_iou",
    "allow_low_quality_matches": "match_low_quality",
    "center_radius": "center_radius",
    "candidate_topk": "candidate_topk",
    "iou_weight": "iou_weight",
    "cls_weight": "classification_weight",
    "soft_center_radius": "soft_center_radius",
    "center_sampling_radius": "radius",
    "center_sample_radius": "radius",
    "regress_ranges": "ranges",
    "class_cost": "class_cost",
    "bbox_cost": "l1_cost",
    "giou_cost": "giou_cost",
    "cost_class": "class_cost",
    "cost_bbox": "l1_cost",
    "cost_giou": "giou_cost",
    "focal_alpha": "focal_alpha",
}
MATCHER = {"alpha": "focal_alpha", "gamma": "focal_gamma"}  # of a Hungarian matcher alone
PREFIXES = ("tal_", "maxiou_", "tvmatcher_", "atss_", "simota_", "dynsoft_", "fcos_", "hungarian_")


def request(golden: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The assigner's name and options that a file's source and config stand for."""
    name, flavor = next(v for k, v in FLAVORS.items() if k in golden["source"])
    config = {k.removeprefix("matcher_"): v for k, v in golden["config"].items()}
    known = {**OPTIONS, **MATCHER} if name == "hungarian" else OPTIONS
    options = {known[k]: v for k, v in config.items() if k in known}
    if "ignore_wrt_candidates" in config:
        options["ignore_with_respect_to"] = "prediction" if config["ignore_wrt_candidates"] else "region"
    if config.get("center_sampling") is False:
        options["radius"] = None
    return name, {"flavor": flavor, **options}


def by_image(batch: Batch) -> list[tuple[slice, int]]:
    """The rows of each image's predictions, and the number of its first ground truth."""
    rows = accumulate(torch.bincount(batch.predictions.image, minlength=batch.images).tolist(), initial=0)
    first = accumulate(torch.bincount(batch.ground_truth.image, minlength=batch.images).tolist(), initial=0)
    return [(slice(*pair), box) for pair, box in zip(pairwise(rows), first, strict=False)]


def matches(result: Assignment, rows: slice, first_box: int) -> torch.Tensor:
    """As the files have it: the number of the box in its image, -1 for background, -2 for ignored."""
    matched = torch.where(result.positive[rows], result.ground_truth[rows] - first_box, -1)
    return torch.where(result.ignored[rows], -2, matched)


@pytest.mark.parametrize("name", goldens.names(*PREFIXES))
@pytest.mark.parametrize("trace", [False, True], ids=["plain", "traced"])
def test_assignment_is_the_upstreams(name: str, trace: bool) -> None:
    """Every prediction has the state and the box that the upstream gave it; a trace changes nothing."""
    golden = goldens.load(name)
    batch = goldens.assignment_batch(golden)
    which, options = request(golden)

    result = assigner.bind(which, options)(batch.predictions, batch.ground_truth, trace=trace)

    for number, (rows, first_box) in enumerate(by_image(batch)):
        expected = golden["expected"]["images"][number]
        matched = matches(result, rows, first_box)
        wanted = torch.tensor(expected.get("matched_gt", matched.tolist()))
        quality = goldens.tensor(expected.get("target_score") or result.quality[rows].tolist(), -1)
        for box in golden["expected"].get("tie_dependent_rows", []):
            if box[0] == number:  # which of the predictions of metric 0 were taken is the upstream's accident
                counts = quality > 0, result.quality[rows] > 0
                assert (counts[0] & (wanted == box[1])).sum() == (counts[1] & (matched == box[1])).sum()
                tied = (matched == box[1]) | (wanted == box[1])
                matched, wanted = torch.where(tied, -1, matched), torch.where(tied, -1, wanted)
                quality = torch.where(tied, result.quality[rows], quality)
        assert matched.tolist() == wanted.tolist(), f"image {number}"
        torch.testing.assert_close(result.quality[rows], quality, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", goldens.names("fcos_mmdet"))
def test_points_have_the_classes_and_distances_that_mmdet_gives_them(name: str) -> None:
    """FCOSHead tells no box, but what to learn from it."""
    golden = goldens.load(name)
    batch = goldens.assignment_batch(golden)
    which, options = request(golden)

    result = assigner.bind(which, options)(batch.predictions, batch.ground_truth)

    images = golden["expected"]["images"]
    assert result.positive.tolist() == [one for image in images for one in image["positive"]]
    labels = torch.where(result.positive, batch.ground_truth.labels[result.ground_truth], -1)
    wanted = torch.tensor([one for image in images for one in image["assigned_label"]])
    assert labels.tolist() == torch.where(result.positive, wanted, -1).tolist()
    sides = to_distances(batch.predictions.points, batch.ground_truth.boxes[result.ground_truth])
    expected = torch.cat([goldens.tensor(image["ltrb_targets"], -1, 4) for image in images])
    torch.testing.assert_close(sides[result.positive], expected[result.positive], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", goldens.names("atss_", "simota_", "dynsoft_", "hungarian_"))
def test_overlaps_and_costs_are_the_upstreams(name: str) -> None:
    """Of each match its IoU where the file has one; and the cost of every pair that was weighed."""
    golden = goldens.load(name)
    batch = goldens.assignment_batch(golden)
    which, options = request(golden)

    result = assigner.bind(which, options)(batch.predictions, batch.ground_truth, trace=True)

    trace = result.trace
    assert trace is not None
    for number, (rows, first_box) in enumerate(by_image(batch)):
        expected, at = golden["expected"]["images"][number], result.positive[rows]
        overlap = expected.get("matched_iou") or expected.get("max_overlap")
        if overlap is not None:
            wanted = goldens.tensor(overlap, -1)[at]
            torch.testing.assert_close(result.iou[rows][at], wanted, rtol=1e-5, atol=1e-6)
        if "cost" in expected["pairwise"]:
            cost = goldens.tensor(expected["pairwise"]["cost"], -1, len(at))
            wanted = cost[result.ground_truth[rows][at] - first_box, at.nonzero().squeeze(1)]
            torch.testing.assert_close(result.metric[rows][at], wanted, rtol=1e-5, atol=1e-5)
            here = batch.predictions.image[trace.prediction] == number
            box, row = trace.ground_truth[here] - first_box, trace.prediction[here] - rows.start
            known = cost[box, row].isfinite()
            torch.testing.assert_close(trace.metric[here][known], cost[box, row][known], rtol=1e-5, atol=1e-4)
            assert known.sum() > at.sum()
        if "total_cost" in expected:
            assert result.metric[rows].sum().item() == pytest.approx(expected["total_cost"], rel=1e-5)
