"""Losses against what their upstreams computed, value and gradient, and laws that hold for each of a kind."""

import typing
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from posneg.models.losses import kind_of, losses
from posneg.models.registry import options_of as options
from posneg.models.types import ClassScores
from tests.models import goldens

FILES = {
    "loss_bce": "binary_cross_entropy",
    "loss_focal": "focal",
    "loss_l1": "l1",
    "loss_smoothl1": "smooth_l1",
    "loss_dfl": "dfl",
    "loss_giou": "giou",
    "loss_diou": "diou",
    "loss_ciou": "ciou",
    "loss_iou": "iou",
    "loss_eiou": "eiou",
    "loss_siou": "siou",
    "loss_mse": "mse",
    "loss_vfl": "varifocal",
    "loss_qfl": "quality_focal",
    "loss_ce": "cross_entropy",
}
INPUTS = ("logits", "pred_logits", "probs", "pred_scores", "pred_boxes", "pred", "dist_logits")
GRADIENTS = ("logits", "probs", "scores", "pred_boxes", "boxes", "pred", "dist_logits")
FLAVORS = ("ultralytics", "mmdet", "torchvision", "ppdet")
NUMBERS = ("alpha", "gamma", "beta", "mode", "neg_gamma")


def options_of(name: str, function: str, config: dict[str, Any]) -> dict[str, Any]:
    """The options that a file's name and config stand for."""
    known = options(losses[function])
    found = {k: v for k, v in config.items() if k in NUMBERS and k in known and v is not None}
    if "flavor" in known:
        named = next((f for f in FLAVORS if f"_{f}" in name), None)
        flavor = "ppdet" if "ppyoloe" in name else "yolox" if "giou_yolox" in name else named
        found |= {"flavor": flavor} if flavor else {}
    if function == "iou":
        found["mode"] = "square" if "yolox" in name else found["mode"] if "iou_ul" not in name else "linear"
    return found


def evaluate(name: str, golden: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Our values for a file's inputs, and their gradient."""
    function = next(ours for prefix, ours in FILES.items() if name.startswith(prefix))
    inputs, config = golden["inputs"], golden["config"]
    column = "pred_scores" if "ppyoloe" in name else next(k for k in INPUTS if k in inputs)
    shape = (-1, 4, len(inputs[column][0])) if column == "dist_logits" else (-1, len(inputs[column][0]))
    prediction = goldens.tensor(inputs[column], *shape).requires_grad_()
    bound = losses.bind(function, options_of(name, function, config))
    match kind_of(function):
        case "softmax":
            labels = torch.tensor(inputs["labels"])
            weights = goldens.tensor(config.get("class_weight") or [1.0] * shape[1], -1)
            values = bound(ClassScores(logits=prediction), labels) * weights[labels]
        case "classification":
            key = "logits" if "logits" in column else "probabilities"
            values = bound(ClassScores(**{key: prediction}), *targets(inputs, shape[1]))
        case "distribution":
            values = bound(prediction, goldens.tensor(inputs.get("target") or inputs["target_ltrb"], -1, 4))
        case _:
            values = bound(prediction, goldens.tensor(inputs.get("target_boxes") or inputs["target"], -1, 4))
    return values, torch.autograd.grad(values.sum(), prediction)[0]


def targets(inputs: dict[str, Any], classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Class targets, and which entries are a positive's own class, both [P, C]."""
    soft = inputs.get("gt_score") or inputs.get("target_scores") or inputs.get("targets")
    hard = inputs.get("label") or inputs.get("target_onehot")
    if "labels" in inputs and not hard:
        labels = torch.tensor(inputs["labels"])
        hard = torch.nn.functional.one_hot(labels, classes + 1)[:, :classes].tolist()
    own = goldens.tensor(hard or soft, -1, classes)
    if "quality" in inputs:
        return own * goldens.tensor(inputs["quality"], -1, 1), own > 0
    return goldens.tensor(soft or hard, -1, classes), own > 0


@pytest.mark.parametrize("name", goldens.names("loss_"))
def test_loss_is_the_upstreams(name: str) -> None:
    """Sum, values and gradient agree with the upstream's."""
    golden = goldens.load(name)
    expected = golden["expected"]

    values, gradient = evaluate(name, golden)

    total = expected.get("loss_sum_float64", expected["loss_sum"])
    torch.testing.assert_close(values.sum().item(), total, rtol=1e-5, atol=1e-7)
    if (each := expected.get("per_element")) and goldens.tensor(each, -1).numel() == values.numel():
        torch.testing.assert_close(values.reshape(-1), goldens.tensor(each, -1), rtol=1e-5, atol=1e-6)
    order = GRADIENTS if "ppyoloe" not in name else GRADIENTS[2:]
    wanted = next(expected[f"grad_{k}"] for k in order if f"grad_{k}" in expected)
    rows = expected.get("grad_valid_rows", range(len(gradient)))
    shaped = goldens.tensor(wanted, *gradient.shape)
    torch.testing.assert_close(gradient[list(rows)], shaped[list(rows)], rtol=1e-4, atol=1e-5)


coordinate = st.integers(0, 999).map(float)
side = st.integers(1, 500).map(float)
box = st.builds(lambda x, y, w, h: [x, y, x + w, y + h], coordinate, coordinate, side, side).map(
    lambda b: torch.tensor([b], dtype=torch.float64)
)
OVERLAP = [
    (name, flavor)
    for name in losses
    if kind_of(name) == "overlap"
    for flavor in (
        typing.get_args(typing.get_type_hints(losses[name])["flavor"])
        if "flavor" in options(losses[name])
        else [None]
    )
]


def overlap_loss(name: str, flavor: str | None) -> Callable[..., torch.Tensor]:
    """The loss in a flavor, where it has any."""
    return losses.bind(name, {"flavor": flavor} if flavor else {})


@pytest.mark.parametrize(("name", "flavor"), OVERLAP)
@given(a=box, b=box, zoom=st.sampled_from([0.5, 2.0, 8.0]))
def test_overlap_losses_are_zero_on_equal_boxes_and_blind_to_scale(
    name: str, flavor: str | None, a: torch.Tensor, b: torch.Tensor, zoom: float
) -> None:
    """0 for a box and itself, at least 0, finite, and the same at another scale."""
    loss = overlap_loss(name, flavor)
    value = loss(a, b)

    torch.testing.assert_close(loss(a, a).item(), 0.0, atol=1e-6, rtol=0)
    assert -1e-9 <= value.item() < 4
    torch.testing.assert_close(loss(a * zoom, b * zoom), value, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "flavor"), OVERLAP)
def test_overlap_losses_are_finite_for_boxes_without_extent(name: str, flavor: str | None) -> None:
    """Points, lines and equal boxes give numbers, and so do their gradients."""
    shapes = torch.tensor([[5, 5, 5, 5], [5, 5, 9, 5], [0, 0, 8, 8], [5, 5, 5, 9]], dtype=torch.float64)
    a, b = shapes.repeat_interleave(4, 0).requires_grad_(), shapes.repeat(4, 1)

    value = overlap_loss(name, flavor)(a, b)

    assert value.isfinite().all()
    assert torch.autograd.grad(value.sum(), a)[0].isfinite().all()


@given(logit=st.sampled_from([-1e4, -50.0, 0.0, 3.0, 1e4]), target=st.sampled_from([0.0, 0.3, 1.0]))
@pytest.mark.parametrize("name", [n for n in losses if kind_of(n) == "classification"])
def test_classification_losses_are_finite_at_any_logit(name: str, logit: float, target: float) -> None:
    """Huge logits, and the probabilities that they round to, give finite values and gradients."""
    values = torch.tensor([[logit]], dtype=torch.float64, requires_grad=True)
    wanted = torch.tensor([[target]], dtype=torch.float64)
    for scores in (ClassScores(logits=values), ClassScores(probabilities=values.sigmoid())):
        loss = losses[name](scores, wanted)

        assert loss.isfinite().all()
        assert torch.autograd.grad(loss.sum(), values, retain_graph=True)[0].isfinite().all()
