"""Whether the inputs of one loss fit each other: shapes, ranges, class numbers, and what is said twice."""

import numpy as np

from posneg.models.losses import Kind
from posneg.service.errors import MAX_FAULTS
from posneg.service.schemas.faults import Faults, shown
from posneg.service.schemas.loss_input import Flags, Floats
from posneg.service.schemas.loss_inputs import INPUTS, Input, Sent

MAX_NUMBERS = 10_000_000
"""Numbers in all inputs of one loss together."""
AGREEMENT = 1e-4
"""How far scores may be from the sigmoid of logits that are sent beside them."""


def check_agreement(sent: Sent, kind: Kind, faults: Faults) -> None:
    """Point at every input that does not go with the others."""
    count = sum(array.size for array in sent.arrays.values())
    if count > MAX_NUMBERS:
        faults.add("/inputs", f"{count} numbers; one loss may have {MAX_NUMBERS}", "too_many")
        return
    for wanted in INPUTS[kind]:
        if wanted.role in sent.arrays:
            _check_values(wanted, sent, faults)
    if not sent.predictions:
        return
    before = faults.total
    _check_width(sent, kind, faults)
    for wanted in INPUTS[kind]:
        if wanted.role in sent.arrays:
            _check_shape(wanted, sent, faults)
    if faults.total == before:
        _check_classes(sent, kind, faults)
        _check_contradictions(sent, kind, faults)


def classes_of(sent: Sent, kind: Kind) -> int:
    """How many classes the prediction has, without the background."""
    array = sent.arrays[sent.predictions[0]]
    columns = array.shape[1] if array.ndim > 1 else 1
    return max(columns - 1, 0) if kind == "softmax" else columns


def own_classes(sent: Sent, kind: Kind) -> Flags | None:
    """Each row's own class, from class numbers or as they are marked; shaped as the prediction."""
    if "own" in sent.arrays:
        return np.equal(sent.arrays["own"], 1)
    if "labels" not in sent.arrays:
        return None
    marked: Flags = np.equal(sent.arrays["labels"][:, None], np.arange(classes_of(sent, kind)))
    return marked.reshape(sent.arrays[sent.predictions[0]].shape)


def _check_values(wanted: Input, sent: Sent, faults: Faults) -> None:
    array, pointer = sent.arrays[wanted.role], sent.pointer(wanted.role)
    match wanted.values:
        case "share":
            bad = np.isfinite(array) & ((array < 0) | (array > 1))
            _point(bad, array, pointer, "is not 0 to 1", "out_of_range", faults)
        case "flag":
            _point(~np.isin(array, (0, 1)), array, pointer, "is neither 0 nor 1", "out_of_range", faults)
        case "class":
            whole = np.isfinite(array) & (np.floor(array) == array)
            _point(~whole, array, pointer, "is no class number", "wrong_type", faults)


def _check_width(sent: Sent, kind: Kind, faults: Faults) -> None:
    """A row without classes, or with one bin, has no loss."""
    role = sent.predictions[0]
    array, least = sent.arrays[role], {"classification": 1, "softmax": 1, "distribution": 2}.get(kind, 0)
    if len(array) and array.ndim > 1 and array.shape[-1] < least:
        detail = f"rows of {array.shape[-1]}; at least {least} is needed"
        faults.add(sent.pointer(role), detail, "wrong_length")


def _check_shape(wanted: Input, sent: Sent, faults: Faults) -> None:
    pattern = sent.predictions[0]
    base, own = sent.arrays[pattern].shape, sent.arrays[wanted.role].shape
    match wanted.shaped:
        case "prediction":
            fits, needed = own == base, _text(base)
        case "rows":
            fits, needed = own == base[:1], _text(base[:1])
        case _:
            sides = int(np.prod(base[:-1]))
            fits = int(np.prod(own)) == sides
            needed = f"{sides // 4} x 4" if sides % 4 == 0 else str(sides)
    if not fits:
        detail = f"{_text(own)} numbers, not {needed}, which `{sent.names[pattern]}` asks for"
        faults.add(sent.pointer(wanted.role), detail, "wrong_shape")


def _check_classes(sent: Sent, kind: Kind, faults: Faults) -> None:
    if "labels" in sent.arrays:
        labels, classes = sent.arrays["labels"], classes_of(sent, kind)
        detail = f"is no class; allowed: 0 to {classes}, which is the background"
        _point(
            (labels < 0) | (labels > classes),
            labels,
            sent.pointer("labels"),
            detail,
            "label_out_of_range",
            faults,
        )


def _check_contradictions(sent: Sent, kind: Kind, faults: Faults) -> None:
    arrays = sent.arrays
    if "quality" in arrays and "targets" in arrays:
        detail = f"beside `{sent.names['targets']}`; send one of them"
        faults.add("/inputs/quality", detail, "conflicting_fields")
    if "quality" in arrays and not {"own", "labels"} & arrays.keys():
        faults.missing("/inputs/labels", "not there; `quality` is that of a row's own class")
    if {"own", "labels"} <= arrays.keys():
        numbers = arrays["labels"][:, None] == np.arange(classes_of(sent, kind))
        bad = (numbers.reshape(arrays["own"].shape) != (arrays["own"] == 1)).reshape(len(numbers), -1).any(1)
        detail = f"is not the class that `{sent.names['own']}` marks"
        _point(bad, arrays["labels"], sent.pointer("labels"), detail, "conflicting_fields", faults)
    if {"logits", "scores"} <= arrays.keys():
        _check_scores(sent, kind, faults)


def _check_scores(sent: Sent, kind: Kind, faults: Faults) -> None:
    """Logits and scores at once are two ways to say the same, and each gets its gradient."""
    logits, scores = sent.arrays["logits"], sent.arrays["scores"]
    with np.errstate(all="ignore"):
        if kind == "softmax":
            powers = np.exp(logits - logits.max(1, keepdims=True, initial=-np.inf))
            shares = powers / powers.sum(1, keepdims=True)
        else:
            shares = 1 / (1 + np.exp(-logits))
    bad = np.abs(shares - scores) > AGREEMENT
    detail = f"is not what `{sent.names['logits']}` comes to; send one of them"
    _point(bad, scores, sent.pointer("scores"), detail, "conflicting_fields", faults)


def _point(bad: Flags, array: Floats, pointer: str, detail: str, code: str, faults: Faults) -> None:
    """A fault for each element marked; those that no problem would name are only counted."""
    places = np.argwhere(bad)
    for place in places[:MAX_FAULTS].tolist():
        value = shown(float(array[tuple(place)]))
        faults.add(pointer + "".join(f"/{step}" for step in place), f"{value} {detail}", code)
    faults.total += max(len(places) - MAX_FAULTS, 0)


def _text(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
