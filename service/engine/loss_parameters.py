"""The parameters of one loss alone: its own options, class weights, and constants that upstreams state."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from posneg.models.losses import Kind
from posneg.models.registry import check, defaults_of, fitted, options_of
from posneg.service.schemas.faults import Faults, below, shown
from posneg.service.schemas.loss_agreement import classes_of
from posneg.service.schemas.loss_function import WEIGHED, LossFunctionInput
from posneg.service.schemas.loss_input import Floats
from posneg.service.schemas.numbers import vector

CONSTANTS: Mapping[Kind, Mapping[str, tuple[float, ...]]] = {
    "overlap": {
        "eps": (0, 1e-10, 1e-7, 1e-6),
        "eps_paper": (0,),
        "eps_mmdet": (1e-7,),
        "theta": (4,),
        "smooth_point": (0.1,),
        "weight_detached": (True,),
    },
    "classification": {
        "log_clamp": (-100,),
        "iou_weighted": (True,),
        "use_sigmoid": (True,),
        "activated": (False,),
    },
}
"""What some upstream can be told and every flavor here has fixed; stated as it is, it changes nothing."""


@dataclass(frozen=True, slots=True)
class LossParameters:
    """Options of the loss, weights of classes where there are any (the background last), and all as shown."""

    options: dict[str, Any]
    class_weights: Floats | None
    shown: dict[str, Any]


def read_parameters(
    function: Callable[..., Any], kind: Kind, request: LossFunctionInput, faults: Faults
) -> LossParameters:
    """The parameters, each bad one pointed at; what is left out has its default."""
    sent = dict(request.parameters)
    own = options_of(function)
    weights = sent.pop("class_weights", None) if kind in WEIGHED else None
    for name in [name for name in sent if name not in own and name in _constants(kind, request)]:
        value, fixed = sent.pop(name), _constants(kind, request)[name]
        if not isinstance(value, int | float) or value not in fixed:
            listed = " or ".join(f"{number:g}" for number in fixed)
            detail = f"{shown(value)} cannot be chosen; it is fixed here: {listed}"
            faults.add(f"/parameters/{name}", detail, "invalid_option")
    problems = list(check(function, sent))
    for problem in problems:
        faults.add(below("/parameters", str(problem.path[0])), str(problem), "invalid_option")
    options = {} if problems else fitted(function, sent)
    full = defaults_of(function) | options
    read = None if weights is None else _class_weights(weights, kind, request, full, faults)
    if read is None and "background_weight" in full:
        read = _background(request, kind, full["background_weight"])
    listed_weights = {"class_weights": weights} if kind in WEIGHED else {}
    return LossParameters(options, read, full | listed_weights)


def _constants(kind: Kind, request: LossFunctionInput) -> dict[str, tuple[float, ...]]:
    """What is fixed for a kind of loss; numbers of classes and bins are fixed by the inputs."""
    fixed = dict(CONSTANTS.get(kind, {}))
    if request.sent.predictions:
        if kind in WEIGHED:
            fixed |= dict.fromkeys(("num_classes", "background_index"), (classes_of(request.sent, kind),))
        elif kind == "distribution":
            fixed |= dict.fromkeys(("bins", "reg_max"), (request.sent.arrays["logits"].shape[-1],))
    return fixed


def _class_weights(
    value: Any,  # noqa: ANN401 - any JSON value
    kind: Kind,
    request: LossFunctionInput,
    options: dict[str, Any],
    faults: Faults,
) -> Floats | None:
    pointer = "/parameters/class_weights"
    weights = vector(value, pointer, faults)
    if weights is None or not request.sent.predictions:
        return None
    for index in np.flatnonzero(~((weights >= 0) & (weights < np.inf))).tolist():
        detail = f"{shown(float(weights[index]))} is not finite and at least 0"
        faults.add(f"{pointer}/{index}", detail, "out_of_range")
    if not len(request.sent.arrays[request.sent.predictions[0]]):
        return None  # no row tells how many classes there are
    classes = classes_of(request.sent, kind)
    if kind == "softmax" and len(weights) == classes:
        return np.append(weights, options["background_weight"])
    wanted = classes + 1 if kind == "softmax" else classes
    if len(weights) != wanted:
        faults.add(pointer, f"{len(weights)} numbers, not {wanted}", "wrong_length")
    elif kind == "softmax" and "background_weight" in request.parameters:
        detail = "`class_weights` has the background's already; send one of them"
        faults.add("/parameters/background_weight", detail, "conflicting_fields")
    return weights


def _background(request: LossFunctionInput, kind: Kind, weight: float) -> Floats | None:
    if not request.sent.predictions:
        return None
    return np.append(np.ones(classes_of(request.sent, kind)), weight)
