"""Losses against what their upstreams computed, value and gradient, and laws that hold for each of a kind."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from posneg.models.losses import kind_of, losses
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
}
INPUTS = ("logits", "probs", "pred_scores", "pred_boxes", "pred", "dist_logits")
GRADIENTS = ("logits", "probs", "scores", "pred_boxes", "boxes", "pred", "dist_logits")


def evaluate(name: str, golden: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Our values for a file's inputs, and their gradient."""
    function = next(ours for prefix, ours in FILES.items() if name.startswith(prefix))
    inputs = golden["inputs"]
    options = {k: v for k, v in golden["config"].items() if k in ("alpha", "gamma", "beta")}
    flavor = next(
        (f for f in ("ultralytics", "mmdet", "torchvision", "ppdet", "yolox") if f"_{f}" in name), None
    )
    flavor = "ppdet" if "ppyoloe" in name else flavor
    if flavor:
        options["flavor"] = flavor
    prediction = goldens.tensor(next(inputs[k] for k in reversed(INPUTS) if k in inputs), *shape(inputs))
    prediction.requires_grad_()
    bound = losses.bind(function, options)
    match kind_of(function):
        case "classification":
            key = "logits" if "logits" in inputs else "probabilities"
            values = bound(ClassScores(**{key: prediction}), targets(inputs, prediction.shape[1]))
        case "distribution":
            target = goldens.tensor(inputs.get("target") or inputs["target_ltrb"], -1, 4)
            values = bound(prediction, target)
        case _:
            values = bound(prediction, goldens.tensor(inputs.get("target_boxes") or inputs["target"], -1, 4))
    return values, torch.autograd.grad(values.sum(), prediction)[0]


def shape(inputs: dict[str, Any]) -> tuple[int, ...]:
    """The shape that the input of a loss has with us."""
    if "dist_logits" in inputs:
        return -1, 4, len(inputs["dist_logits"][0])
    return -1, len(next(inputs[k] for k in reversed(INPUTS) if k in inputs)[0])


def targets(inputs: dict[str, Any], classes: int) -> torch.Tensor:
    """Class targets [P, C] from whatever a file has."""
    given = inputs.get("target_scores") or inputs.get("targets")
    if given:
        return goldens.tensor(given, -1, classes)
    labels = torch.tensor(inputs["labels"])
    return torch.nn.functional.one_hot(labels, classes + 1)[:, :classes].to(goldens.F64)


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
    wanted = next(expected[f"grad_{k}"] for k in reversed(GRADIENTS) if f"grad_{k}" in expected)
    torch.testing.assert_close(gradient.reshape(-1), goldens.tensor(wanted, -1), rtol=1e-4, atol=1e-5)


coordinate = st.integers(0, 999).map(float)
side = st.integers(1, 500).map(float)
box = st.builds(lambda x, y, w, h: [x, y, x + w, y + h], coordinate, coordinate, side, side).map(
    lambda b: torch.tensor([b], dtype=torch.float64)
)
OVERLAP = [(n, f) for n in losses if kind_of(n) == "overlap" for f in ("mmdet", "torchvision", "ultralytics")]


@pytest.mark.parametrize(("name", "flavor"), OVERLAP)
@given(a=box, b=box, zoom=st.sampled_from([0.5, 2.0, 8.0]))
def test_overlap_losses_are_zero_on_equal_boxes_and_blind_to_scale(
    name: str, flavor: str, a: torch.Tensor, b: torch.Tensor, zoom: float
) -> None:
    """0 for a box and itself, at least 0, finite, and the same at another scale."""
    loss = losses.bind(name, {"flavor": flavor})
    value = loss(a, b)

    torch.testing.assert_close(loss(a, a).item(), 0.0, atol=1e-6, rtol=0)
    assert -1e-9 <= value.item() < 4
    torch.testing.assert_close(loss(a * zoom, b * zoom), value, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "flavor"), OVERLAP)
def test_overlap_losses_are_finite_for_boxes_without_extent(name: str, flavor: str) -> None:
    """Points, lines and equal boxes give numbers, and so do their gradients."""
    shapes = torch.tensor([[5, 5, 5, 5], [5, 5, 9, 5], [0, 0, 8, 8], [5, 5, 5, 9]], dtype=torch.float64)
    a, b = shapes.repeat_interleave(4, 0).requires_grad_(), shapes.repeat(4, 1)

    value = losses.bind(name, {"flavor": flavor})(a, b)

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
