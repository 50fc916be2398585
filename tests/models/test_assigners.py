"""Assigners against what their upstreams did."""

from typing import Any

import pytest
import torch

from posneg.models.assigners import assigner
from tests.models import goldens

FLAVORS = {
    "ultralytics": ("task_aligned", "ultralytics"),
    "mmdet/models/task_modules/assigners/task_aligned_assigner": ("task_aligned", "mmdet"),
    "PaddleDetection": ("task_aligned", "ppdet"),
    "MaxIoUAssigner": ("max_iou", "mmdet"),
    "Matcher": ("max_iou", "torchvision"),
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
}


def request(golden: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The assigner's name and options that a file's source and config stand for."""
    name, flavor = next(v for k, v in FLAVORS.items() if k in golden["source"])
    options = {OPTIONS[k]: v for k, v in golden["config"].items() if k in OPTIONS}
    if "ignore_wrt_candidates" in golden["config"]:
        options["ignore_with_respect_to"] = (
            "prediction" if golden["config"]["ignore_wrt_candidates"] else "region"
        )
    return name, {"flavor": flavor, **options}


@pytest.mark.parametrize("name", goldens.names("tal_", "maxiou_", "tvmatcher_"))
@pytest.mark.parametrize("trace", [False, True], ids=["plain", "traced"])
def test_assignment_is_the_upstreams(name: str, trace: bool) -> None:
    """Every prediction has the state and the box that the upstream gave it; a trace changes nothing."""
    golden = goldens.load(name)
    batch = goldens.assignment_batch(golden)
    which, options = request(golden)

    result = assigner.bind(which, options)(batch.predictions, batch.ground_truth, trace=trace)

    first_box = first_row = 0
    for number, expected in enumerate(golden["expected"]["images"]):
        count = len(expected["positive"])
        rows = slice(first_row, first_row + count)
        matched = torch.where(result.positive[rows], result.ground_truth[rows] - first_box, -1)
        matched = torch.where(result.ignored[rows], -2, matched)
        wanted = torch.tensor(expected["matched_gt"])
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
        first_row += count
        first_box += int((batch.ground_truth.image == number).sum())
