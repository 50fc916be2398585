"""What a request says beside its images: which recipe, how precise, how much detail."""

from typing import Any

from pydantic import ValidationError

from posneg.service.schemas.faults import Faults, below, given, shown
from posneg.service.schemas.loss_request import LossRequest

PROMISED = {"distributed": "what-ifs over several processes are not answered yet; leave `distributed` out"}
"""Fields of the contract that must not be passed over in silence while nothing answers them."""
MAX_DEPTH = 8
MAX_TERMS = 64
INTEGER_BITS = 63


def options(document: dict[str, Any], faults: Faults) -> LossRequest:
    """The envelope of a request, its images left as they came; defaults stand in for what is wrong."""
    known = LossRequest.model_fields
    for name in PROMISED.keys() & document.keys():
        faults.add(below("", name), PROMISED[name], "not_supported")
    faults.unknown_fields("", [name for name in document if name not in PROMISED], known)
    envelope = {name: document[name] for name in known if document.get(name) is not None}
    for name in ("assigner", "loss"):
        if name in envelope and not are_options(envelope[name], name, faults):
            del envelope[name]
    try:
        return LossRequest.model_validate(envelope)
    except ValidationError as error:
        _point(error, faults)
        return LossRequest(images=envelope.get("images"), coco=envelope.get("coco"))


def _point(error: ValidationError, faults: Faults) -> None:
    for fault in error.errors(include_url=False):
        pointer = "".join(f"/{step}" for step in fault["loc"])
        if fault["type"] == "literal_error":
            expected = fault["ctx"]["expected"]
            faults.add(pointer, f"{shown(fault['input'])} is none of {expected}", "unknown_value")
        else:
            faults.add(pointer, f"{shown(fault['input'])}: {fault['msg']}", "wrong_type")


def are_options(value: object, name: str, faults: Faults) -> bool:
    """Whether `value` is an object of values that can be bound and echoed; `loss` is one of such objects."""
    before = faults.total
    if type(value) is not dict:
        faults.wrong_type(f"/{name}", value, "an object")
    elif name == "loss":
        if len(value) > MAX_TERMS:
            faults.add("/loss", f"{len(value)} terms; no recipe has more than {MAX_TERMS}", "too_many")
        else:
            for term, own in value.items():
                if type(own) is not dict:
                    faults.wrong_type(below("/loss", term), own, "an object such as {'weight': 1.0}")
    if faults.total == before:
        _walk(value, f"/{name}", faults)
    return faults.total == before


def _walk(value: object, pointer: str, faults: Faults) -> None:
    """Point at numbers that no answer could echo, and at nesting that no option has."""
    pending: list[tuple[object, str, int]] = [(value, pointer, 0)]
    while pending:
        value, pointer, depth = pending.pop()
        if type(value) is int and value.bit_length() > INTEGER_BITS:
            faults.add(pointer, f"{shown(value)} is too large", "out_of_range")
        elif isinstance(value, dict | list) and depth > MAX_DEPTH:
            faults.add(pointer, f"nested more than {MAX_DEPTH} deep", "too_deep")
        elif isinstance(value, dict):
            pending.extend((given(value, key), below(pointer, key), depth + 1) for key in value)
        elif isinstance(value, list):
            pending.extend((element, f"{pointer}/{index}", depth + 1) for index, element in enumerate(value))
