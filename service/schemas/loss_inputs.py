"""What each kind of loss compares: the inputs of POST /v1/loss-functions/{name}, their names and shapes.

P rows, C classes, R bins. An input has several names, since upstreams have; gradients come back under the one
that was sent. Values may be non-finite: that is data to diagnose.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from posneg.models.losses import Kind
from posneg.service.schemas.faults import Faults
from posneg.service.schemas.loss_input import Floats
from posneg.service.schemas.numbers import cube, matrix, vector

Role = Literal["logits", "scores", "prediction", "targets", "own", "labels", "quality", "target"]
PREDICTIONS: tuple[Role, ...] = ("logits", "scores", "prediction")
"""What gradients are taken of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One input: what it is called, how it is nested, and which values it takes.

    `shaped` says what its shape must agree with: the prediction's, its rows, or its sides.
    """

    role: Role
    names: tuple[str, ...]
    shape: str
    about: str
    ranks: tuple[int, ...]
    width: int | None = None
    values: Literal["any", "share", "flag", "class"] = "any"
    shaped: Literal["prediction", "rows", "sides"] = "prediction"


@dataclass(frozen=True, slots=True)
class Sent:
    """The inputs of one request by role: the numbers, and the names that the caller used."""

    arrays: dict[Role, Floats]
    names: dict[Role, str]

    @property
    def predictions(self) -> list[Role]:
        """The roles that gradients are taken of, in the order in which they are tried."""
        return [role for role in PREDICTIONS if role in self.arrays]

    def pointer(self, role: Role) -> str:
        """Where an input stands in the request."""
        return f"/inputs/{self.names[role]}"


def _logits(shape: str, *ranks: int, also: tuple[str, ...] = (), about: str = "Before the sigmoid.") -> Input:
    return Input(role="logits", names=("logits", *also, "pred_logits"), shape=shape, about=about, ranks=ranks)


def _scores(shape: str, *ranks: int) -> Input:
    return Input(
        role="scores",
        names=("scores", "probs", "pred_scores"),
        shape=shape,
        about="Probabilities, in place of logits.",
        ranks=ranks,
        values="share",
    )


def _targets(*names: str, shape: str, ranks: tuple[int, ...], about: str) -> Input:
    return Input(role="targets", names=names, shape=shape, about=about, ranks=ranks, values="share")


def _labels(about: str) -> Input:
    return Input(
        role="labels", names=("labels",), shape="P", about=about, ranks=(1,), values="class", shaped="rows"
    )


def _pair(
    names: tuple[str, str], others: tuple[str, str], shape: str, ranks: tuple[int, ...]
) -> tuple[Input, ...]:
    width = 4 if shape == "P x 4" else None
    about = ("Predicted.", "What they should be.")
    roles: tuple[Role, Role] = ("prediction", "target")
    return tuple(
        Input(role=role, names=(own, other), shape=shape, about=text, ranks=ranks, width=width)
        for role, own, other, text in zip(roles, names, others, about, strict=True)
    )


BOXES, NUMBERS = ("pred_boxes", "target_boxes"), ("pred", "target")
INPUTS: Mapping[Kind, tuple[Input, ...]] = {
    "classification": (
        _logits("P x C, or P", 1, 2),
        _scores("P x C, or P", 1, 2),
        _targets(
            "targets",
            "target_scores",
            "gt_score",
            shape="as the prediction",
            ranks=(1, 2),
            about="What each score should be, 0 to 1; left out: 1 for a row's own class, or its `quality`.",
        ),
        Input(
            role="own",
            names=("label", "target_onehot"),
            shape="as the prediction",
            about="1 at a row's own class, else 0; left out: where the target is above 0.",
            ranks=(1, 2),
            values="flag",
        ),
        _labels("The same as class numbers; C is none, the background."),
        Input(
            role="quality",
            names=("quality",),
            shape="P",
            about="What the own class's score should be, 0 to 1; needs `labels` or `label`.",
            ranks=(1,),
            values="share",
            shaped="rows",
        ),
    ),
    "softmax": (
        _logits("P x (C + 1)", 2, about="Before the softmax; the background is the last column."),
        _scores("P x (C + 1)", 2),
        _labels("Class numbers; C is the background."),
    ),
    "overlap": _pair(BOXES, NUMBERS, "P x 4", (2,)),
    "coordinates": _pair(NUMBERS, BOXES, "P, or P x any width", (1, 2)),
    "logit": (
        _logits("P", 1),
        _targets("targets", "target", shape="P", ranks=(1,), about="What each should be, 0 to 1."),
    ),
    "distribution": (
        _logits(
            "P x 4 x R, or M x R",
            2,
            3,
            also=("dist_logits",),
            about="Over the bins; M rows are sides, four in a row a box where the target says so.",
        ),
        Input(
            role="target",
            names=("target", "target_ltrb", "targets"),
            shape="P x 4, or M",
            about="Distances in bins: left, top, right, bottom of each box, or of each row by itself.",
            ranks=(1, 2),
            width=4,
            shaped="sides",
        ),
    ),
}
NEEDED: Mapping[Kind, tuple[tuple[Role, ...], ...]] = {
    "classification": (("logits", "scores"), ("targets", "own", "labels")),
    "softmax": (("logits", "scores"), ("labels",)),
    "overlap": (("prediction",), ("target",)),
    "coordinates": (("prediction",), ("target",)),
    "logit": (("logits",), ("targets",)),
    "distribution": (("logits",), ("target",)),
}
"""Of each group of roles one must be there."""


def described(kind: Kind) -> list[dict[str, Any]]:
    """The inputs of one kind, as `GET /v1/loss-functions` lists them."""
    return [{"names": list(i.names), "shape": i.shape, "description": i.about} for i in INPUTS[kind]]


def alternatives(kind: Kind) -> list[list[str]]:
    """The inputs that a loss of this kind cannot do without: of each list one, called by its first name."""
    first = {i.role: i.names[0] for i in INPUTS[kind]}
    return [[first[role] for role in group] for group in NEEDED[kind]]


def read_inputs(value: Any, kind: Kind, faults: Faults) -> Sent:  # noqa: ANN401 - any JSON value
    """Every input that is there and nested as it should be; whether they agree is seen to elsewhere."""
    sent = Sent({}, {})
    if type(value) is not dict:
        faults.wrong_type("/inputs", value, "an object of inputs by name")
        return sent
    faults.unknown_fields("/inputs", value, [name for i in INPUTS[kind] for name in i.names])
    for wanted in INPUTS[kind]:
        names = [name for name in wanted.names if value.get(name) is not None]
        for name in names[1:]:
            detail = f"the same as `{names[0]}`; send one of them"
            faults.add(f"/inputs/{name}", detail, "conflicting_fields")
        if names:
            sent.names[wanted.role] = names[0]
            array = _block(value[names[0]], wanted, f"/inputs/{names[0]}", faults)
            if array is not None:
                sent.arrays[wanted.role] = array
    for group, names in zip(NEEDED[kind], alternatives(kind), strict=True):
        if not sent.names.keys() & set(group):
            listed = " or ".join(f"`{name}`" for name in names)
            faults.missing(f"/inputs/{names[0]}", f"not there; send {listed}")
    return sent


def _block(value: Any, wanted: Input, pointer: str, faults: Faults) -> Floats | None:  # noqa: ANN401
    """The numbers of one input, nested as its first element is, if it may be nested so."""
    rank = min(max(_depth(value), wanted.ranks[0]), wanted.ranks[-1])
    if rank == 1:
        return vector(value, pointer, faults)
    if rank == 2:
        return matrix(value, wanted.width, pointer, faults)
    return cube(value, 4, pointer, faults)


def _depth(value: Any) -> int:  # noqa: ANN401 - any JSON value
    depth = 0
    while type(value) is list:
        depth += 1
        value = value[0] if value else None
    return depth
