"""Reasons on scenes small enough to work out by hand."""

import torch

from posneg.models.criterion import assign
from posneg.models.explain.reasons import Reasons, explain, relative_margin
from posneg.models.presets import resolve
from posneg.models.types import Batch, ClassScores, GroundTruth, Predictions


def scene(boxes: list[list[float]], scores: list[float], truth: list[list[float]], images: int = 1) -> Batch:
    """One class; points are the centres of the predicted boxes."""
    predicted = torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4)
    true = torch.tensor(truth, dtype=torch.float64).reshape(-1, 4)
    return Batch(
        predictions=Predictions(
            boxes=predicted,
            scores=ClassScores(probabilities=torch.tensor(scores, dtype=torch.float64).reshape(-1, 1)),
            image=torch.zeros(len(predicted), dtype=torch.long),
            points=(predicted[:, :2] + predicted[:, 2:]) / 2,
            strides=torch.ones(len(predicted), dtype=torch.float64),
        ),
        ground_truth=GroundTruth(
            boxes=true,
            labels=torch.zeros(len(true), dtype=torch.long),
            image=torch.zeros(len(true), dtype=torch.long),
            ignore=torch.zeros(len(true), dtype=torch.bool),
            weight=torch.ones(len(true), dtype=torch.float64),
        ),
        images=images,
    )


def reasons(batch: Batch, preset: str = "yolov8", **options: object) -> Reasons:
    """Reasons under a preset with changed assigner options."""
    return explain(batch, assign(resolve(preset, assigner=options), batch, trace=True))


BOX = [0.0, 0.0, 40.0, 40.0]


def test_the_one_ranked_out_is_measured_against_the_last_one_in() -> None:
    """Two candidates for one place: the better is in by its lead, the other out by the same."""
    near, far = [0.0, 0.0, 40.0, 36.0], [0.0, 0.0, 40.0, 30.0]

    found = reasons(scene([near, far], [0.8, 0.8], [BOX]), flavor="mmdet", topk=1)

    assert found.prediction_reason == ["TOP_K", "RANK_OUT_OF_TOPK"]
    first, second = found.verdicts.margin[found.prediction_pair].tolist()
    assert first > 0 > second
    assert first == -second


def test_a_point_outside_every_box_is_no_candidate() -> None:
    """Told by how far outside it is, against the box it overlaps most."""
    found = reasons(scene([[30.0, 30.0, 90.0, 90.0]], [0.9], [BOX]), flavor="mmdet")

    assert found.prediction_reason == ["NOT_A_CANDIDATE"]
    assert found.ground_truth_reason == ["NO_CENTER_INSIDE"]
    assert found.candidates.tolist() == [0]


def test_a_box_that_lost_its_only_prediction_says_so() -> None:
    """Both boxes claim it; the one it overlaps more has it."""
    smaller = [0.0, 0.0, 40.0, 30.0]

    found = reasons(scene([BOX], [0.9], [smaller, BOX]), flavor="mmdet")

    assert found.ground_truth_reason == ["LOST_CONFLICT", None]
    assert found.prediction_reason == ["TOP_K"]


def test_a_box_alone_in_its_image_has_no_predictions() -> None:
    """No pair was weighed at all."""
    found = reasons(scene([], [], [BOX]))

    assert found.ground_truth_reason == ["NO_PREDICTIONS"]
    assert found.ground_truth_pair.tolist() == [-1]


def test_max_iou_tells_the_band_from_the_background() -> None:
    """Above, between and below the two thresholds; the closest one is kept whatever its overlap."""
    shapes = [[0.0, 0.0, 40.0, high] for high in (38.0, 18.0, 4.0)]

    found = reasons(scene(shapes, [0.5] * 3, [BOX]), preset="retinanet", match_low_quality=False)
    alone = reasons(scene(shapes[2:], [0.5], [BOX]), preset="retinanet")

    assert found.prediction_reason == ["ABOVE_THRESHOLD", "IN_IGNORE_BAND", "BELOW_THRESHOLD"]
    assert alone.prediction_reason == ["LOW_QUALITY_MATCH"]
    assert alone.verdicts.margin.isnan().all()


def test_margins_are_relative_signed_and_turned_for_costs() -> None:
    """Against the larger of both; NaN without a rival, 0 at the cut-off."""
    value = torch.tensor([0.6, 0.4, 0.0, 0.5, 0.3])
    cutoff = torch.tensor([0.5, 0.5, 0.0, 0.5, torch.nan])

    margin = relative_margin(value, cutoff)

    torch.testing.assert_close(margin[:4], torch.tensor([1 / 6, -0.2, 0.0, 0.0]))
    assert margin[4].isnan()
    torch.testing.assert_close(relative_margin(value, cutoff, cost=True)[:4], -margin[:4])
