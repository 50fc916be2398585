"""Assigners where their rules are most easily got wrong, on scenes small enough to work out by hand."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from posneg.models.assigners import assigner
from posneg.models.explain.reasons import Reasons, explain
from posneg.models.types import Assignment, Batch, GroundTruth
from tests.models.goldens import batch_of, tensor
from tests.models.scenes import cast

Boxes = list[list[float]]


def scene(boxes: Boxes, truth: Boxes, *, stride: float = 8.0, **columns: Tensor) -> Batch:
    """One image and one class; points are the centres of the boxes, scores a half."""
    count = len(boxes)
    rows = {"boxes": tensor(boxes, -1, 4), "strides": torch.full((count,), stride, dtype=torch.float64)}
    if "scores" not in columns and "logits" not in columns:
        rows["scores"] = torch.full((count, 1), 0.5, dtype=torch.float64)
    return batch_of([{**rows, **columns}], truth_of(truth))


def truth_of(boxes: Boxes, ignore: Boxes | None = None) -> GroundTruth:
    """Boxes of one image, and ignored ones after them."""
    count, regions = len(boxes), len(ignore or [])
    return GroundTruth(
        boxes=tensor(boxes + (ignore or []), -1, 4),
        labels=torch.zeros(count + regions, dtype=torch.long),
        image=torch.zeros(count + regions, dtype=torch.long),
        ignore=torch.tensor([False] * count + [True] * regions),
        weight=torch.ones(count + regions, dtype=torch.float64),
    )


def told(name: str, batch: Batch, **options: object) -> tuple[Assignment, Reasons]:
    """The assignment and its reasons."""
    result = assigner[name](batch.predictions, batch.ground_truth, trace=True, **options)
    return result, explain(batch, result)


def around(*centers: float, half: float = 16.0) -> Boxes:
    """Squares in a row."""
    return [[x - half, -half, x + half, half] for x in centers]


def test_atss_finds_no_threshold_for_a_single_candidate() -> None:
    """Its deviation has no meaning: nothing is positive, as in mmdet, and nothing is NaN."""
    batch = scene(around(0.0), around(0.0), anchors=tensor(around(0.0), -1, 4))

    result, found = told("atss", batch)

    assert not result.positive.any()
    assert found.prediction_reason == ["BELOW_THRESHOLD"]
    assert found.ground_truth_reason == ["BELOW_THRESHOLD"]


def test_atss_takes_equal_overlaps_where_reaching_is_enough() -> None:
    """A small box in nine equal anchors: IoU equals the threshold; mmdet has >=, PaddleDetection >."""
    places = around(*(x / 10 for x in range(-4, 5)))
    batch = scene(places, around(0.0, half=0.7))

    least = told("atss", batch, anchor_scale=4.0)[0]
    more = told("atss", batch, flavor="ppdet", anchor_scale=4.0)[0]

    assert least.positive.all()
    assert not more.positive.any()


def test_atss_makes_its_own_anchors_where_there_are_none() -> None:
    """Squares of eight strides on the points, and PaddleDetection's five whatever is sent."""
    places = around(0.0, 60.0, 70.0, 80.0)
    bare = scene(places, around(1.0, half=30))
    given = scene(places, around(1.0, half=30), anchors=tensor(around(0.0, 60.0, 70.0, 80.0, half=32), -1, 4))

    for flavor in ("mmdet", "ppdet"):
        without, having = told("atss", bare, flavor=flavor)[0], told("atss", given, flavor=flavor)[0]
        assert without.positive.any()
        assert without.positive.tolist() == having.positive.tolist()
        assert without.metric.tolist() == having.metric.tolist()


def test_atss_ignores_what_a_region_covers_unless_it_is_positive() -> None:
    """And takes it as a candidate last."""
    places = around(0.0, 4.0, 40.0, 80.0)
    batch = scene(places, around(0.0), anchors=tensor(places, -1, 4))
    region = [[20.0, -20.0, 120.0, 20.0]]
    batch = replace(batch, ground_truth=truth_of(around(0.0), region))

    result, found = told("atss", batch, topk=2)

    assert result.ignored.tolist() == [False, False, True, True]
    assert found.prediction_reason[2:] == ["IGNORED_BY_REGION"] * 2
    assert not told("atss", batch, ignore_iof_threshold=None)[0].ignored.any()


def test_atss_takes_what_a_region_covers_last() -> None:
    """The nearest anchor is excused, so the next one is the candidate."""
    places = around(0.0, 1.0, 5.0)
    batch = scene(places, around(0.0), anchors=tensor(places, -1, 4))
    region = [[-15.9, -15.9, 14.0, 15.9]]
    batch = replace(batch, ground_truth=truth_of(around(0.0), region))

    result, found = told("atss", batch, topk=1, ignore_iof_threshold=0.92)

    assert result.ignored.tolist() == [True, False, False]
    assert found.prediction_reason[1:] == ["BELOW_THRESHOLD", "RANK_OUT_OF_TOPK"]


def test_center_sampling_has_the_ranges_of_its_levels() -> None:
    """The last one holds for further levels; mmdet's bounds belong to it, torchvision's do not."""
    places, truth = around(0.0, 1.0, 2.0), [[-10.0, -16.0, 10.0, 16.0]]
    strides = torch.tensor([8.0, 16.0, 32.0], dtype=torch.float64)
    batch = scene(places, truth)
    batch = replace(batch, predictions=replace(batch.predictions, strides=strides))
    ranges = ((0.0, 16.0), (16.0, 100.0))

    closed, _ = told("center_sampling", batch, flavor="mmdet", ranges=ranges)
    opened, found = told("center_sampling", batch, flavor="torchvision", ranges=ranges)

    assert closed.positive.tolist() == [True, True, True]
    assert opened.positive.tolist() == [False, False, False]
    assert found.prediction_reason == ["OUT_OF_SCALE_RANGE"] * 3
    assert found.verdicts.margin[found.prediction_pair].tolist() == [0.0, 0.0, 0.0]


def test_center_sampling_never_matches_what_upstream_has_no_area_for() -> None:
    """1e8 square pixels count as no match."""
    batch = scene(around(0.0), around(0.0, half=5000))

    for flavor in ("torchvision", "mmdet"):
        result, found = told("center_sampling", batch, flavor=flavor)
        assert not result.positive.any()
        assert found.prediction_reason == ["OUT_OF_SCALE_RANGE"]


def test_simota_without_candidates_is_background() -> None:
    """Where YOLOX raises."""
    result, found = told("simota", scene(around(0.0, 500.0), around(200.0)))

    assert not result.positive.any()
    assert found.prediction_reason == ["NOT_A_CANDIDATE"] * 2
    assert found.ground_truth_reason == ["NO_CENTER_INSIDE"]
    assert (found.verdicts.margin < 0).all()


def test_simota_leaks_to_predictions_that_are_outside_at_a_price() -> None:
    """A box with one point of its own and k of two takes a neighbour's; its cost says so."""
    truth = [*around(0.0, half=20), *around(15.0, half=20)]
    batch = scene([*around(0.0, half=20), *around(0.0, half=20), *around(15.0, half=20)], truth)
    points = torch.tensor([[0.0, 0.0], [20.0, 0.0], [21.0, 0.0]], dtype=torch.float64)
    batch = replace(batch, predictions=replace(batch.predictions, points=points))

    result, found = told("simota", batch)

    assert result.positive.all()
    assert result.ground_truth.tolist() == [0, 0, 1]  # the second lies in the other box's region alone
    assert found.candidates.tolist() == [1, 2]
    assert (result.metric > 1e6).tolist() == [False, True, False]


def test_a_box_without_points_takes_one_of_the_others() -> None:
    """RTMDet: as many as its k, also outside itself."""
    batch = scene(around(0.0, 10.0), [*around(0.0), *around(30.0, half=15)])

    result, found = told("dynamic_soft_label", batch)

    assert found.candidates.tolist() == [2, 0]
    assert result.positive.all()
    assert result.ground_truth.tolist() == [0, 1]


def test_hungarian_leaves_the_dearest_boxes_without() -> None:
    """More boxes than predictions."""
    batch = scene(around(0.0), [*around(50.0), *around(1.0), *around(9.0)])

    result, found = told("hungarian", batch)

    assert result.ground_truth.tolist() == [1]
    assert found.prediction_reason == ["HUNGARIAN"]
    assert found.ground_truth_reason == ["HUNGARIAN_UNMATCHED", None, "HUNGARIAN_UNMATCHED"]
    assert found.candidates.tolist() == [1, 1, 1]


def test_hungarian_margins_are_what_another_matching_would_cost() -> None:
    """Of two predictions for one box the better leads by what the other lacks; equals tie."""
    better, worse = around(0.0), around(4.0)
    apart = told("hungarian", scene(better + worse, around(0.0)))
    tied = told("hungarian", scene(better + better, around(0.0)))
    alone = told("hungarian", scene(better, around(0.0)))

    first, second = apart[1].verdicts.margin[apart[1].prediction_pair].tolist()
    assert first > 0 > second
    assert first == pytest.approx(-second)
    assert tied[1].verdicts.margin.tolist() == [0.0, 0.0]
    assert alone[1].verdicts.margin.isnan().all()


def test_hungarian_compares_shares_of_the_image() -> None:
    """Pixels with an extent cost what normalised boxes cost."""
    pixels, truth = around(41.0, 62.0), around(50.0)
    extent = torch.tensor([[200.0, 100.0]] * 2, dtype=torch.float64)
    size = torch.tensor([200.0, 100.0, 200.0, 100.0], dtype=torch.float64)
    shares = scene((tensor(pixels, -1, 4) / size).tolist(), (tensor(truth, -1, 4) / size).tolist())

    for flavor in ("detr", "rtdetr", "dfine", "rfdetr"):
        ours, _ = told("hungarian", scene(pixels, truth, extent=extent), flavor=flavor)
        normalised, _ = told("hungarian", shares, flavor=flavor)
        torch.testing.assert_close(ours.metric, normalised.metric)


@pytest.mark.parametrize("flavor", ["detr", "rtdetr", "mmdet", "rfdetr", "dfine"])
def test_hungarian_costs_are_numbers_whatever_is_sent(flavor: str) -> None:
    """A pair without a cost is taken last, but by D-FINE, which gives it 1; and it says so."""
    truth = [[5.0, 5.0, 5.0, 5.0]]  # a point, like the first prediction: their GIoU is 0/0
    places = [[5.0, 5.0, 5.0, 5.0], [100.0, 100.0, 900.0, 900.0]]
    batch = scene(places, truth)

    result, found = told("hungarian", batch, flavor=flavor)

    assert result.metric.isfinite().all()
    if flavor == "dfine":
        assert result.positive.tolist() == [True, False]
        assert result.metric.tolist() == [1.0, 0.0]
    elif flavor != "mmdet":  # mmdet's GIoU has an epsilon
        assert result.positive.tolist() == [False, True]
        assert found.prediction_reason == ["NONFINITE", "HUNGARIAN"]
    else:
        assert result.positive.tolist() == [True, False]


def test_hungarian_weighs_classes_as_its_flavor_does() -> None:
    """Softmax costs count once, focal ones twice; RF-DETR takes its logarithms without an epsilon."""
    logits = torch.full((1, 1), 60.0, dtype=torch.float64)
    batch = scene(around(0.0), around(0.0), logits=logits)
    for flavor, weight in {"detr": 1.0, "mmdet": 1.0, "rtdetr": 2.0, "dfine": 2.0, "rfdetr": 2.0}.items():
        default, _ = told("hungarian", batch, flavor=flavor)
        same, _ = told("hungarian", batch, flavor=flavor, class_cost=weight)
        assert default.metric.tolist() == same.metric.tolist()

    exact, _ = told("hungarian", batch, flavor="rfdetr", giou_cost=0.0)
    bounded, _ = told("hungarian", batch, flavor="rtdetr", giou_cost=0.0)

    assert exact.metric.item() == pytest.approx(-2 * 0.75 * 60)
    assert bounded.metric.item() == pytest.approx(-2 * 0.75 * 8 * 2.302585, rel=1e-5)


def test_hungarian_takes_probabilities_as_they_are() -> None:
    """Shares of a softmax cost what their logits cost."""
    logits = torch.tensor([[1.0, -1.0, 0.5], [0.0, 2.0, 1.0]], dtype=torch.float64)
    places, truth = around(0.0, 1.0), around(0.5)

    from_logits, _ = told("hungarian", scene(places, truth, logits=logits))
    from_shares, _ = told("hungarian", scene(places, truth, scores=logits.softmax(1)))

    torch.testing.assert_close(from_logits.metric, from_shares.metric)


def test_objectness_counts_where_there_is_one() -> None:
    """SimOTA weighs the root of the product; without the column, the class alone."""
    batch = scene(around(0.0), around(1.0))
    joint = scene(around(0.0), around(1.0), objectness=torch.full((1,), 2.0, dtype=torch.float64))

    difference = told("simota", joint)[0].metric - told("simota", batch)[0].metric

    root = (torch.tensor([2.0], dtype=torch.float64).sigmoid() * 0.5).sqrt()
    torch.testing.assert_close(difference, -root.log() - torch.tensor([2.0], dtype=torch.float64).log())


@pytest.mark.parametrize("name", ["atss", "simota", "dynamic_soft_label", "center_sampling", "hungarian"])
def test_areas_do_not_overflow_in_half_precision(name: str) -> None:
    """Boxes of 400 pixels have more square pixels than float16 has numbers."""
    batch = cast(scene(around(0.0, 4.0, half=200.0), around(1.0, half=200.0), stride=128.0), torch.float16)

    result, _ = told(name, batch)

    assert result.positive.any()
    assert (result.iou[result.positive] > (0.1 if name == "atss" else 0.9)).all()  # its anchors are larger
