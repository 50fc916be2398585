"""The body of POST /v1/loss-functions/{name} and its answer: one loss alone, on inputs that are sent."""

from dataclasses import dataclass
from typing import Annotated, Any, get_args

from pydantic import Field, WithJsonSchema

from posneg.models.losses import Kind
from posneg.service.schemas.faults import Faults, given, shown
from posneg.service.schemas.loss_agreement import check_agreement
from posneg.service.schemas.loss_answer import Documented, Number
from posneg.service.schemas.loss_input import Dtype
from posneg.service.schemas.loss_inputs import INPUTS, Sent, alternatives, described, read_inputs
from posneg.service.schemas.loss_request import Strict
from posneg.service.schemas.options import are_options

WEIGHED: tuple[Kind, ...] = ("classification", "softmax")
"""Kinds that take `class_weights` here, as a term of `/v1/losses` does."""
CLASS_WEIGHTS: dict[str, Any] = {
    "type": ["array", "null"],
    "items": {"type": "number", "minimum": 0},
    "default": None,
    "description": "A number a class; a softmax takes the background's too, the last.",
}
EXAMPLE: dict[str, Any] = {
    "inputs": {"logits": [[0.0, 2.0]], "targets": [[1.0, 0.0]]},
    "parameters": {},
    "gradients": True,
}
ANSWER_EXAMPLE: dict[str, Any] = {
    "per_element": [[0.6931471805599453, 2.1269280110429727]],
    "sum": 2.820075191602918,
    "mean": 1.410037595801459,
    "gradients": {"logits": [[-0.5, 0.8807970779778823]]},
    "nonfinite": [],
    "resolved": {
        "name": "binary_cross_entropy",
        "parameters": {"class_weights": None},
        "dtype": "float64",
        "semantics": {"binary_cross_entropy": 1},
    },
}


def _inputs_schema() -> dict[str, Any]:
    """Every name that any loss takes, with what it is there."""
    properties: dict[str, Any] = {}
    for kind, inputs in INPUTS.items():
        for one in inputs:
            for name in one.names:
                said = properties.setdefault(name, {"type": "array", "description": ""})
                said["description"] += f"{kind}: {one.shape}. {one.about} "
    for said in properties.values():
        said["description"] = said["description"].strip()
    needed = {kind: " and ".join(map("/".join, alternatives(kind))) for kind in INPUTS}
    text = "; ".join(f"{kind}: {what}" for kind, what in needed.items())
    return {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "description": f"By kind of loss, one name of each: {text}. GET /v1/loss-functions lists the names.",
    }


class LossFunctionRequest(Strict):
    """Inputs of one loss and its parameters; which inputs there are depends on the kind of loss."""

    inputs: Annotated[dict[str, Any], WithJsonSchema(_inputs_schema())]
    parameters: dict[str, Any] = Field(
        default_factory=dict,
        description="As GET /v1/loss-functions lists them, and `class_weights` for losses over classes.",
    )
    gradients: bool = Field(False, description="Of the sum, by name of the input.")
    dtype: Dtype = "float64"


class LossFunctionAnswer(Documented):
    """One value an element, as the upstream whose flavor it is would give them unreduced."""

    per_element: list[Any]
    sum: Number
    mean: Number = Field(description="Of `per_element`; 0 of none.")
    gradients: dict[str, Any] = Field(
        default_factory=dict, description="d sum / d input, shaped as sent; where asked for."
    )
    nonfinite: list[str] = Field(description="JSON pointers to what is null since it is not finite.")
    resolved: dict[str, Any] = Field(description="The parameters in full, and the version of the rule.")


@dataclass(frozen=True, slots=True, kw_only=True)
class LossFunctionInput:
    """A request after parsing; its parameters are looked at where the loss is known."""

    sent: Sent
    parameters: dict[str, Any]
    gradients: bool
    dtype: Dtype


def evaluation(kind: Kind) -> dict[str, Any]:
    """What evaluating a loss of this kind alone takes, as GET /v1/loss-functions lists it."""
    extra = {"class_weights": CLASS_WEIGHTS} if kind in WEIGHED else {}
    return {"inputs": described(kind), "parameters": extra}


def read_loss_function(document: Any, kind: Kind, faults: Faults) -> LossFunctionInput:  # noqa: ANN401
    """A request from its JSON value; what is at fault is left out."""
    if type(document) is not dict:
        faults.wrong_type("", document, "an object with `inputs`")
        faults.raise_if_any()
    faults.unknown_fields("", document, LossFunctionRequest.model_fields)
    sent = Sent({}, {})
    if document.get("inputs") is None:
        faults.missing("/inputs", "not there; it takes an object of inputs by name")
    else:
        sent = read_inputs(document["inputs"], kind, faults)
        check_agreement(sent, kind, faults)
    parameters = given(document, "parameters", {})
    sound = are_options(parameters, "parameters", faults)
    return LossFunctionInput(
        sent=sent,
        parameters={k: v for k, v in parameters.items() if v is not None} if sound else {},
        gradients=_flag(document, faults),
        dtype=_dtype(document, faults),
    )


def _flag(document: dict[str, Any], faults: Faults) -> bool:
    value = given(document, "gradients", False)
    if type(value) is not bool:
        faults.wrong_type("/gradients", value, "true or false")
    return value is True


def _dtype(document: dict[str, Any], faults: Faults) -> Dtype:
    value = given(document, "dtype", "float64")
    if value not in get_args(Dtype):
        detail = f"{shown(value)} is none of {', '.join(get_args(Dtype))}"
        faults.add("/dtype", detail, "unknown_value")
        return "float64"
    return value  # type: ignore[no-any-return]
