"""The criterion against what its upstreams computed: terms and gradients."""

import pytest
import torch

from posneg.models.criterion import criterion
from posneg.models.presets import resolve
from tests.models import goldens

TOLERANCE = {"rtol": 1e-5, "atol": 1e-7}


@pytest.mark.parametrize("name", goldens.names("crit_v8_"))
def test_yolov8_is_ultralytics(name: str) -> None:
    """Terms with their gains, and the gradients of the total with respect to the head's raw output."""
    golden = goldens.load(name)
    batch, leaves = goldens.yolov8_batch(golden)
    config = golden["config"]
    columns = frozenset({"dfl"} if config["reg_max"] > 1 else {"ltrb"})
    assigner = {k: config[f"tal_{k}"] for k in ("topk", "topk2", "alpha", "beta")}
    loss = {"classification": {"class_weights": config["class_weights"]}} if config["class_weights"] else {}

    result = criterion(resolve("yolov8", assigner=assigner, loss=loss, columns=columns), batch)
    gradients = torch.autograd.grad(result.total, list(leaves.values()))

    expected = golden["expected"]["losses"]["float64"]
    names = {"box": "box", "classification": "cls", "dfl" if config["reg_max"] > 1 else "l1": "dfl"}
    for ours, theirs in names.items():
        torch.testing.assert_close(result.terms[ours].value.item(), expected[theirs], msg=ours, **TOLERANCE)
    raw = goldens.tensor(golden["expected"]["grad_pred_boxes_raw"], batch.images, 4, config["reg_max"], -1)
    scores = goldens.tensor(golden["expected"]["grad_pred_scores_raw"], batch.images, config["nc"], -1)
    close(gradients[0], raw.permute(0, 3, 1, 2) / batch.images)
    close(gradients[1], scores.transpose(1, 2) / batch.images)


@pytest.mark.parametrize("name", goldens.names("crit_retinanet_"))
def test_retinanet_is_torchvision(name: str) -> None:
    """Both terms, and the gradients of their sum with respect to offsets and logits."""
    golden = goldens.load(name)
    batch, leaves = goldens.retinanet_batch(golden)
    config = golden["config"]
    assigner = {
        "positive_iou": config["fg_iou_thresh"],
        "negative_iou": config["bg_iou_thresh"],
        "match_low_quality": config["allow_low_quality"],
    }

    recipe = resolve("retinanet", assigner=assigner, loss={"box": {"name": config["bbox_loss"]}})
    result = criterion(recipe, batch)
    gradients = torch.autograd.grad(result.total, list(leaves.values()))

    expected = golden["expected"]
    for ours, theirs in {"classification": "classification", "box": "bbox_regression"}.items():
        torch.testing.assert_close(
            result.terms[ours].value.item(), expected["losses_float64"][theirs], msg=ours, **TOLERANCE
        )
    for gradient, column in zip(gradients, leaves, strict=True):
        wanted = expected.get(f"grad64_{column}") or expected[f"grad_{column}"]
        close(gradient, goldens.tensor(wanted, *gradient.shape))


def close(gradient: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal to 1e-4 of the largest component, as float32 vectors allow."""
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()) + 1e-9)
