"""What holds for every assigner in every flavor; a new file in models/assigners is tested by being there."""

from dataclasses import replace
from typing import Any, get_args, get_type_hints

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from posneg.models.assigners import assigner
from posneg.models.explain.reasons import CODES, explain
from posneg.models.types import Assignment, Batch, ClassScores
from tests.models.scenes import cast, join, pick, scenes, split, to_device

few = settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow])


def flavors(name: str) -> list[str]:
    """The flavors that an assigner's signature names."""
    return list(get_args(get_type_hints(assigner[name])["flavor"]))


every = pytest.mark.parametrize(
    ("name", "flavor"), [(name, flavor) for name in assigner for flavor in flavors(name)]
)


def assign(name: str, flavor: str, batch: Batch, **options: Any) -> Assignment:
    """The assignment of a batch."""
    return assigner[name](batch.predictions, batch.ground_truth, flavor=flavor, **options)


def assert_sound(batch: Batch, result: Assignment) -> None:
    """One state each; matches within the image, with boxes that count; finite numbers, 0 but for matches."""
    truth, positive = batch.ground_truth, result.positive
    assert not (positive & result.ignored).any()
    matched = result.ground_truth[positive]
    assert (truth.image[matched] == batch.predictions.image[positive]).all()
    assert not (truth.ignore | result.degenerate)[matched].any()
    assert not result.ground_truth[~positive].any()
    for column in (result.iou, result.metric, result.quality):
        assert column.isfinite().all()
        assert not column[~positive].any()
    assert ((result.iou >= 0) & (result.iou <= 1 + 1e-6)).all()
    assert ((result.quality >= 0) & (result.quality <= 1 + 1e-6)).all()
    assert result.reason is not None
    assert set(result.reasons) <= CODES
    assert ((result.reason >= 0) & (result.reason < len(result.reasons))).all()


def assert_same(result: Assignment, expected: Assignment) -> None:
    """The same states and matches, and the same numbers but for the last digits."""
    assert result.positive.tolist() == expected.positive.tolist()
    assert result.ignored.tolist() == expected.ignored.tolist()
    assert result.ground_truth.tolist() == expected.ground_truth.tolist()
    for column in ("iou", "metric", "quality"):
        torch.testing.assert_close(getattr(result, column), getattr(expected, column))


@every
@few
@given(batch=scenes())
def test_a_trace_changes_nothing(name: str, flavor: str, batch: Batch) -> None:
    """States, matches and numbers are the same; what is sound without a trace is sound with it."""
    plain, traced = assign(name, flavor, batch), assign(name, flavor, batch, trace=True)

    assert_sound(batch, plain)
    assert_same(traced, plain)
    assert plain.trace is None
    assert traced.trace is not None


@every
@few
@given(batch=scenes())
def test_positives_are_inside_and_negatives_outside(name: str, flavor: str, batch: Batch) -> None:
    """Margins have the sign of the state, reasons are known ones, and each box without a match has one."""
    result = assign(name, flavor, batch, trace=True)

    found = explain(batch, result)

    assert set(found.prediction_reason) <= CODES
    told = found.prediction_pair >= 0
    margin = found.verdicts.margin[found.prediction_pair[told]]
    assert not (margin[result.positive[told]] < 0).any()
    assert not (margin[result.negative[told]] > 0).any()
    matched = torch.bincount(result.ground_truth[result.positive], minlength=len(found.candidates)) > 0
    for got, ignored, reason in zip(
        matched.tolist(), batch.ground_truth.ignore.tolist(), found.ground_truth_reason, strict=True
    ):
        assert (reason is None) == (got or ignored)
        assert reason is None or reason in CODES
    pairs = found.prediction_pair[result.positive]
    assert result.trace is not None
    assert (pairs >= 0).all()
    assert result.trace.ground_truth[pairs].tolist() == result.ground_truth[result.positive].tolist()
    torch.testing.assert_close(result.trace.metric[pairs], result.metric[result.positive], check_dtype=False)
    torch.testing.assert_close(result.trace.iou[pairs], result.iou[result.positive], check_dtype=False)


@every
@few
@given(batch=scenes(), order=st.permutations(range(3)))
def test_the_order_of_images_changes_nothing(name: str, flavor: str, batch: Batch, order: list[int]) -> None:
    """Each image is assigned by itself."""
    result = assign(name, flavor, join([split(batch)[n] for n in order]))

    alone = [assign(name, flavor, image) for image in split(batch)]
    count = len(batch.predictions.boxes) // batch.images
    boxes = [len(image.ground_truth.boxes) for image in split(batch)]
    for place, number in enumerate(order):
        rows = slice(place * count, (place + 1) * count)
        first = sum(boxes[n] for n in order[:place])
        matched = torch.where(result.positive[rows], result.ground_truth[rows] - first, 0)
        assert result.positive[rows].tolist() == alone[number].positive.tolist()
        assert matched.tolist() == alone[number].ground_truth.tolist()
        torch.testing.assert_close(result.metric[rows], alone[number].metric)


@every
@few
@given(batch=scenes(), masked=st.sets(st.integers(0, 100), max_size=8))
def test_rows_that_are_not_finite_take_no_part(
    name: str, flavor: str, batch: Batch, masked: set[int]
) -> None:
    """The others come out as if those had never been there."""
    finite = torch.ones(len(batch.predictions.boxes), dtype=torch.bool)
    finite[list(masked)] = False
    scores = ClassScores(logits=torch.where(finite[:, None], batch.predictions.scores.values, 0))
    boxes = torch.where(finite[:, None], batch.predictions.boxes, 0)
    hidden = replace(batch, predictions=replace(batch.predictions, scores=scores, boxes=boxes, finite=finite))

    result = assign(name, flavor, hidden, trace=True)

    expected = assign(name, flavor, pick(batch, finite, torch.ones_like(batch.ground_truth.ignore)))
    assert not result.positive[~finite].any()
    assert result.positive[finite].tolist() == expected.positive.tolist()
    assert result.ground_truth[finite].tolist() == expected.ground_truth.tolist()
    assert explain(hidden, result).prediction_reason


@every
@few
@given(batch=scenes(), count=st.integers(0, 3))
def test_few_predictions_are_enough(name: str, flavor: str, batch: Batch, count: int) -> None:
    """Fewer than any top-k counts, down to none, in all images or in one."""
    per_image = len(batch.predictions.boxes) // batch.images
    number = torch.arange(len(batch.predictions.boxes)) % per_image
    everything = torch.ones_like(batch.ground_truth.ignore)
    for kept in (number < count, (number < count) | (batch.predictions.image != 1)):
        small = pick(batch, kept, everything)

        result = assign(name, flavor, small, trace=True)

        assert_sound(small, result)
        explain(small, result)


@every
@few
@given(batch=scenes())
def test_without_boxes_nothing_is_positive(name: str, flavor: str, batch: Batch) -> None:
    """No ground truth at all, or only what is ignored."""
    every_row = torch.ones(len(batch.predictions.boxes), dtype=torch.bool)
    none = pick(batch, every_row, torch.zeros_like(batch.ground_truth.ignore))
    ignored = replace(
        batch, ground_truth=replace(batch.ground_truth, ignore=torch.ones_like(batch.ground_truth.ignore))
    )
    for empty in (none, ignored):
        result = assign(name, flavor, empty, trace=True)

        assert_sound(empty, result)
        assert not result.positive.any()
        explain(empty, result)
    assert not assign(name, flavor, none).ignored.any()


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@settings(max_examples=2)
@given(batch=scenes())
def test_columns_have_the_dtype_of_the_boxes(
    name: str, flavor: str, dtype: torch.dtype, batch: Batch
) -> None:
    """Half precision too; what overflows in it is weighed in more."""
    small = cast(batch, dtype)

    result = assign(name, flavor, small, trace=True)

    assert_sound(small, result)
    assert {result.iou.dtype, result.metric.dtype, result.quality.dtype} == {dtype}
    explain(small, result)


@every
@few
@given(batch=scenes(), scale=st.sampled_from([1e4, -1e4]))
def test_extreme_scores_give_finite_numbers(name: str, flavor: str, batch: Batch, scale: float) -> None:
    """Logits of ±1e4, and boxes far away or without area."""
    scores = ClassScores(logits=torch.full_like(batch.predictions.scores.values, scale))
    boxes = batch.predictions.boxes.clone()
    boxes[::3] = boxes[::3, :2].repeat(1, 2)
    boxes[1::3] += 1e6
    extreme = replace(batch, predictions=replace(batch.predictions, scores=scores, boxes=boxes))

    result = assign(name, flavor, extreme, trace=True)

    assert_sound(extreme, result)
    assert result.trace is not None
    assert all(test.value.isfinite().all() for test in result.trace.tests)
    explain(extreme, result)


@pytest.mark.gpu
@every
@settings(max_examples=5)
@given(batch=scenes())
def test_a_gpu_assigns_what_a_cpu_assigns(name: str, flavor: str, batch: Batch) -> None:
    """Where nothing ties: the same states and matches."""
    result = assign(name, flavor, to_device(batch, "cuda"), trace=True)

    expected = assign(name, flavor, batch)
    assert result.positive.tolist() == expected.positive.tolist()
    assert result.ground_truth.tolist() == expected.ground_truth.tolist()
    torch.testing.assert_close(result.metric.cpu(), expected.metric)
