"""One loss alone: values of the inputs as they were sent, and the gradient of their sum."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from posneg.models.losses import Kind, kind_of, losses
from posneg.models.types import ClassScores
from posneg.service.engine.batch import DTYPES
from posneg.service.engine.finite import strict
from posneg.service.engine.loss_parameters import LossParameters, read_parameters
from posneg.service.schemas.faults import Faults
from posneg.service.schemas.loss_agreement import own_classes
from posneg.service.schemas.loss_function import LossFunctionInput, read_loss_function
from posneg.service.schemas.loss_inputs import Role, Sent

Json = dict[str, Any]
SIDES = 4
ROWS: tuple[Kind, ...] = ("softmax", "overlap", "distribution")
"""Kinds that have one value for what stands along the last axis."""


def evaluate(name: str, document: Any) -> Json:  # noqa: ANN401 - any JSON value
    """The answer to POST /v1/loss-functions/{name}; raises `InvalidRequest` for every fault at once."""
    kind, faults = kind_of(name), Faults()
    request = read_loss_function(document, kind, faults)
    parameters = read_parameters(losses[name], kind, request, faults)
    faults.raise_if_any()
    problem = _problem(name, kind, request, parameters)
    found = {role: _evaluated(problem, role) for role in request.sent.predictions}
    values = _reduced(problem, next(iter(found.values()))[0])
    body: Json = {
        "per_element": _listed(values),
        "sum": values.sum().item(),
        "mean": values.mean().item() if values.numel() else 0.0,
    }
    if request.gradients:
        body["gradients"] = {request.sent.names[r]: _listed(gradient) for r, (_, gradient) in found.items()}
    sound = all(bool(v.isfinite().all()) for v in (values, values.sum(), *(g for _, g in found.values())))
    body = body if sound else strict(body)  # which looks at each number, and takes its time
    body.setdefault("nonfinite", [])
    body["resolved"] = {
        "name": name,
        "parameters": parameters.shown,
        "dtype": request.dtype,
        "semantics": {name: sys.modules[losses[name].__module__].SEMANTICS},
    }
    return body


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A loss with its options bound, and what predictions are compared with.

    `target` is shaped as the prediction, but class numbers [P] for a softmax, and distances [M] for
    distributions. `own` marks own classes where the caller did. `boxes`: sides belong together by four.
    """

    name: str
    kind: Kind
    function: Callable[..., Tensor]
    flavor: str | None
    dtype: torch.dtype
    sent: Sent
    target: Tensor
    own: Tensor | None
    weights: Tensor | None
    boxes: bool


def _problem(name: str, kind: Kind, request: LossFunctionInput, parameters: LossParameters) -> Problem:
    arrays, dtype = request.sent.arrays, DTYPES[request.dtype]
    own = own_classes(request.sent, kind) if kind == "classification" else None
    match kind:
        case "classification":
            target = _tensor(_class_targets(request.sent, own), dtype)
        case "softmax":
            target = _tensor(arrays["labels"], torch.long)
        case "distribution":
            target = _tensor(arrays["target"].reshape(-1), dtype)
        case _:
            target = _tensor(arrays["targets" if kind == "logit" else "target"], dtype)
    weights = parameters.class_weights
    return Problem(
        name=name,
        kind=kind,
        function=partial(losses[name], **parameters.options),
        flavor=parameters.shown.get("flavor"),
        dtype=dtype,
        sent=request.sent,
        target=target,
        own=None if own is None else torch.from_numpy(own),
        weights=None if weights is None else _tensor(weights, dtype),
        boxes=kind == "distribution" and (arrays["logits"].ndim == 3 or arrays["target"].ndim == 2),
    )


def _class_targets(sent: Sent, own: NDArray[np.bool_] | None) -> NDArray[np.float64]:
    """What each score should be: as sent, else a row's quality at its own class, else 1 there."""
    arrays = sent.arrays
    if "targets" in arrays:
        return arrays["targets"]
    assert own is not None, "a row's own class is known where no targets were sent"
    if "quality" not in arrays:
        return own.astype(np.float64)
    quality = arrays["quality"].reshape((-1,) + (1,) * (own.ndim - 1))
    return np.where(own, quality, 0.0)


def _evaluated(problem: Problem, role: Role) -> tuple[Tensor, Tensor]:
    """Each value before any reduction, and the gradient of their sum, shaped as the prediction was sent.

    What is not finite, or is compared with what is not, is kept out of the arithmetic; its value is NaN.
    """
    sent = _tensor(problem.sent.arrays[role], problem.dtype)
    fine, against = sent.isfinite(), problem.target.isfinite()
    if problem.kind in ROWS:
        fine = fine.all(-1)
    if problem.kind == "overlap":
        against = against.all(-1)
    fine = fine & against.reshape(fine.shape)
    if not sent.numel():
        return torch.zeros(fine.shape, dtype=problem.dtype), torch.zeros_like(sent)
    leaf = _cleaned(sent).requires_grad_()
    values = _values(problem, role, leaf).reshape(fine.shape)
    gradient = torch.autograd.grad(torch.where(fine, values, 0).sum(), leaf)[0]
    nan = torch.full((), torch.nan, dtype=problem.dtype)
    touched = fine[..., None] if problem.kind in ROWS else fine
    return torch.where(fine, values, nan).detach(), torch.where(touched, gradient, nan)


def _values(problem: Problem, role: Role, leaf: Tensor) -> Tensor:
    """The loss of finite inputs, times the weights of classes."""
    target = problem.target if problem.kind == "softmax" else _cleaned(problem.target)
    match problem.kind:
        case "classification":
            own = None if problem.own is None else _columns(problem.own)
            values = problem.function(_scores(role, _columns(leaf)), _columns(target), own)
            return values if problem.weights is None else values * problem.weights
        case "softmax":
            values = problem.function(_scores(role, leaf), target)
            return values if problem.weights is None else values * problem.weights[target]
        case "coordinates":  # one by one, whatever the width; the loss itself takes four in a row
            count = leaf.numel()
            return problem.function(_by_four(leaf.flatten()), _by_four(target.flatten())).flatten()[:count]
        case "distribution":
            values = problem.function(_by_four(leaf.flatten(0, -2)), _by_four(target))
            alone = problem.flavor != "mmdet" and not problem.boxes
            return values.flatten()[: len(target)] * (SIDES if alone else 1)
        case _:
            return problem.function(leaf, target)


def _reduced(problem: Problem, values: Tensor) -> Tensor:
    """The values as the upstream gives them at the least: some add up classes, sides, or everything."""
    if problem.name == "quality_focal" and values.ndim == 2:
        return values.sum(1)
    if problem.name in ("focal", "varifocal") and problem.flavor == "ultralytics":
        return values.sum()[None]
    if problem.kind == "distribution" and problem.boxes:
        values = values.reshape(values.numel() // SIDES, SIDES)
        return values if problem.flavor == "mmdet" else values.sum(1, keepdim=True)
    return values


def _scores(role: Role, values: Tensor) -> ClassScores:
    return ClassScores(logits=values) if role == "logits" else ClassScores(probabilities=values)


def _columns(values: Tensor) -> Tensor:
    """As [P, C]; a vector is one class."""
    return values[:, None] if values.ndim == 1 else values


def _by_four(values: Tensor) -> Tensor:
    """Rows [M, ...] as [⌈M / 4⌉, 4, ...], the last ones padded with zeros."""
    short = -len(values) % SIDES
    padded = functional.pad(values, (0, 0) * (values.ndim - 1) + (0, short))
    return padded.reshape(len(padded) // SIDES, SIDES, *values.shape[1:])


def _cleaned(values: Tensor) -> Tensor:
    return torch.where(values.isfinite(), values, 0)


def _tensor(array: NDArray[np.float64], dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(dtype)


def _listed(values: Tensor) -> list[Any]:
    listed: list[Any] = values.double().tolist()
    return listed
