"""Golden vectors of single losses as requests to `POST /v1/loss-functions/{name}`."""

from typing import Any

from tests.models import goldens

Json = dict[str, Any]
FILES: dict[str, tuple[str, Json]] = {
    "bce_logits": ("binary_cross_entropy", {}),
    "bce_prob": ("binary_cross_entropy", {}),
    "ce_softmax_bg": ("cross_entropy", {}),
    "ce_weighted_eos": ("cross_entropy", {}),
    "focal_torchvision": ("focal", {"flavor": "torchvision"}),
    "focal_noalpha_torchvision": ("focal", {"flavor": "torchvision"}),
    "focal_mmdet": ("focal", {"flavor": "mmdet"}),
    "focal_ultralytics": ("focal", {"flavor": "ultralytics"}),
    "focal_ppyoloe": ("focal", {"flavor": "ppdet"}),
    "qfl_mmdet": ("quality_focal", {}),
    "qfl_tensor_target_mmdet": ("quality_focal", {}),
    "vfl_mmdet": ("varifocal", {"flavor": "mmdet"}),
    "vfl_ppdet_module": ("varifocal", {"flavor": "mmdet"}),
    "vfl_ultralytics": ("varifocal", {"flavor": "ultralytics"}),
    "vfl_ppyoloe": ("varifocal", {"flavor": "ppdet"}),
    "iou_linear": ("iou", {"mode": "linear"}),
    "iou_log": ("iou", {"mode": "log"}),
    "iou_square": ("iou", {"mode": "square"}),
    "iou_yolox": ("iou", {"mode": "square"}),
    "iou_ultralytics": ("iou", {"mode": "linear"}),
    "eiou_efficient": ("eiou", {}),
    "eiou_focal": ("eiou", {}),
    "eiou_mmdet": ("eiou", {"flavor": "mmdet"}),
    "siou_paper": ("siou", {}),
    "siou_mmdet": ("siou", {"flavor": "mmdet"}),
    "siou_neg_gamma_mmdet": ("siou", {"flavor": "mmdet"}),
    "l1": ("l1", {}),
    "mse": ("mse", {}),
    "smoothl1": ("smooth_l1", {}),
    **{
        f"{name}_{flavor}": (name, {"flavor": flavor})
        for name, flavors in {
            "giou": ("ultralytics", "mmdet", "torchvision", "ppdet", "yolox"),
            "diou": ("torchvision", "mmdet", "ultralytics"),
            "ciou": ("ultralytics", "mmdet", "torchvision"),
            "dfl": ("ultralytics", "mmdet"),
        }.items()
        for flavor in flavors
    },
}
"""File name → loss, and what its flavor is called; every number of a file's config keeps its name."""
NOT_IN_THE_CONTRACT = {
    "loss_ce_ignore_mmdet": "no loss here has an index that is ignored: such a row is not sent",
    "loss_bounded_iou_mmdet": "no loss of that name is offered",
}


def asked(name: str, golden: Json) -> tuple[str, Json]:
    """The loss that a file is of, and the request: its inputs as they are, gradients too."""
    stem = max((f for f in FILES if name.startswith(f"loss_{f}_")), key=len)
    loss, parameters = FILES[stem]
    config = golden["config"]
    numbers = {key: value for key, value in config.items() if isinstance(value, int | float)}
    if "class_weight" in config:
        numbers["class_weights"] = config["class_weight"]
    return loss, {"inputs": golden["inputs"], "parameters": numbers | parameters, "gradients": True}


def expected_gradient(golden: Json, sent: str) -> Any:
    """The gradient of one input; files cut a name short where no other is like it."""
    expected = golden["expected"]
    names = [sent, sent.removeprefix("pred_")]
    return next(expected[f"grad_{name}"] for name in names if f"grad_{name}" in expected)


def load(name: str) -> Json:
    """One file."""
    return goldens.load(name)
