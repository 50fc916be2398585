"""Assigners against slow loops over plain numbers, on random scenes."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings

from posneg.models.assigners import assigner
from posneg.models.types import Batch
from tests.models import reference_assigners as reference
from tests.models.scenes import scene, scenes

some = settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
one_image = scenes(images=1)


def usable(batch: Batch) -> tuple[torch.Tensor, list[Any], list[int]]:
    """Rows, boxes and labels of the ground truth that counts."""
    rows = (~batch.ground_truth.ignore).nonzero().squeeze(1)
    return rows, batch.ground_truth.boxes[rows].tolist(), batch.ground_truth.labels[rows].tolist()


def agree(batch: Batch, which: str, expected: Callable[..., reference.Matches], **options: Any) -> None:
    """The assigner's matches are the reference's."""
    rows, boxes, labels = usable(batch)
    wanted = [None if n is None else int(rows[n]) for n in expected(boxes, labels)]

    result = assigner[which](batch.predictions, batch.ground_truth, **options)

    found = [
        box if positive else None
        for box, positive in zip(result.ground_truth.tolist(), result.positive.tolist(), strict=True)
    ]
    assert found == wanted


@pytest.mark.parametrize("topk", [1, 3, 9, 100])
@pytest.mark.parametrize(("flavor", "scale"), [("mmdet", 2.0), ("ppdet", 2.0), ("ppdet", 5.0)])
@some
@given(batch=one_image)
def test_atss_is_the_plain_rule(flavor: str, scale: float, topk: int, batch: Batch) -> None:
    """Both flavors."""
    assert_atss(batch, flavor, scale, topk)


def assert_atss(batch: Batch, flavor: str, scale: float, topk: int) -> None:
    """The same matches from squares of some strides."""
    points, strides = batch.predictions.points, batch.predictions.strides
    half = scale * strides[:, None] / 2
    anchors = torch.cat([points - half, points + half], 1).tolist()

    agree(
        batch,
        "atss",
        lambda boxes, _: reference.atss(anchors, strides.tolist(), boxes, flavor, topk),
        flavor=flavor,
        topk=topk,
        anchor_scale=scale,
        ignore_iof_threshold=None,
    )


@pytest.mark.parametrize("seed", [31, 55, 116])
def test_a_contested_anchor_may_go_to_a_box_that_did_not_claim_it(seed: int) -> None:
    """PaddleDetection's rule: scenes in which one of the claimants has not the largest IoU of all boxes."""
    batch = scene(torch.Generator().manual_seed(seed), 6, whole=False)
    batch = replace(batch, ground_truth=replace(batch.ground_truth, ignore=torch.zeros(6, dtype=torch.bool)))

    assert_atss(batch, "ppdet", 2.0, 9)


@pytest.mark.parametrize("radius", [1.5, 0.5, None])
@pytest.mark.parametrize("shrunk", [1, 4, 8])
@pytest.mark.parametrize("flavor", ["torchvision", "mmdet"])
@some
@given(batch=one_image)
def test_center_sampling_is_the_plain_rule(
    flavor: str, shrunk: int, radius: float | None, batch: Batch
) -> None:
    """Both flavors, also without a radius; strides so small that boxes outgrow their levels."""
    predictions = replace(batch.predictions, strides=batch.predictions.strides / shrunk)
    batch = replace(batch, predictions=predictions)
    points, strides = predictions.points.tolist(), predictions.strides.tolist()

    agree(
        batch,
        "center_sampling",
        lambda boxes, _: reference.center_sampling(points, strides, boxes, flavor, radius),
        flavor=flavor,
        radius=radius,
    )


@pytest.mark.parametrize("flavor", ["yolox", "mmdet"])
@some
@given(batch=one_image)
def test_simota_is_the_plain_rule(flavor: str, batch: Batch) -> None:
    """Both flavors, with objectness."""
    predictions = batch.predictions
    assert predictions.objectness is not None
    joint = (predictions.scores.all_probabilities * predictions.objectness.sigmoid()[:, None]).sqrt()
    columns = (t.tolist() for t in (predictions.boxes, predictions.points, predictions.strides, joint))

    agree(batch, "simota", lambda *truth: reference.simota(*columns, *truth, flavor), flavor=flavor)


@some
@given(batch=one_image)
def test_dynamic_soft_label_is_the_plain_rule(batch: Batch) -> None:
    """RTMDet's costs."""
    predictions = batch.predictions
    columns = (predictions.boxes, predictions.points, predictions.strides, predictions.scores.values)
    plain = [column.tolist() for column in columns]

    agree(batch, "dynamic_soft_label", lambda *truth: reference.dynamic_soft_label(*plain, *truth))
