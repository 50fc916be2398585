"""One tensor of the Open Inference Protocol: a JSON list, or bytes, little-endian and row-major."""

import math
import struct
from typing import Any

import numpy as np

from posneg.service.errors import BadRequest
from posneg.service.serving.inputs import NUMPY_TYPES, Array

Json = dict[str, Any]
JSON_TYPES: dict[str, set[type]] = {"b": {bool}, "i": {int}, "u": {int}, "f": {int, float}, "O": {str}}
"""NumPy's kind of a datatype → what its elements are in JSON."""


def from_json(given: Json) -> Array:
    """The tensor of an input that has `data`, flat or nested."""
    name, datatype = given["name"], given["datatype"]
    if datatype == "FP16":
        raise BadRequest(f"input {name!r}: FP16 has no JSON form; send it as binary data")
    if not isinstance(given.get("data"), list):
        raise BadRequest(f"input {name!r} has no list 'data'")
    kind = np.dtype(NUMPY_TYPES[datatype])
    flat = _flat(given["data"])
    count = math.prod(given["shape"])
    if len(flat) != count:
        raise BadRequest(f"input {name!r} has {len(flat)} elements; its shape {given['shape']} holds {count}")
    if wrong := set(map(type, flat)) - JSON_TYPES[kind.kind]:
        element = next(element for element in flat if type(element) in wrong)
        raise BadRequest(f"input {name!r} has the element {element!r:.60}, which is no {datatype}")
    try:
        with np.errstate(over="raise"):
            return np.array(flat, kind).reshape(given["shape"])
    except (OverflowError, FloatingPointError) as error:
        raise BadRequest(f"input {name!r} has an element that {datatype} cannot hold") from error


def _flat(data: list[Any]) -> list[Any]:
    """Nested lists as one, row-major."""
    while data and isinstance(data[0], list):
        if not all(isinstance(row, list) for row in data):
            raise BadRequest("'data' mixes lists and elements")
        data = [element for row in data for element in row]
    return data


def from_bytes(raw: memoryview, given: Json) -> Array:
    """The tensor of an input that came as raw bytes; shares their memory where it can."""
    name, kind, count = given["name"], np.dtype(NUMPY_TYPES[given["datatype"]]), math.prod(given["shape"])
    if kind.kind == "O":
        return _strings(raw, name, count).reshape(given["shape"])
    if len(raw) != count * kind.itemsize:
        raise BadRequest(
            f"input {name!r} has {len(raw)} bytes; {given['datatype']} of shape {given['shape']} "
            f"has {count * kind.itemsize}"
        )
    # The JSON before it may have any length, and a runtime may want elements at their natural addresses.
    return np.require(np.frombuffer(raw, kind.newbyteorder("<")), requirements="A").reshape(given["shape"])


def _strings(raw: memoryview, name: str, count: int) -> Array:
    """Each element is its length, 4 bytes, and its bytes."""
    elements: list[str] = []
    position = 0
    while position < len(raw):
        if position + 4 > len(raw):
            raise BadRequest(f"input {name!r} ends within an element's length")
        (length,) = struct.unpack_from("<I", raw, position)
        position += 4
        if position + length > len(raw):
            raise BadRequest(f"input {name!r} ends within an element")
        elements.append(_text(bytes(raw[position : position + length]), name))
        position += length
    if len(elements) != count:
        raise BadRequest(f"input {name!r} has {len(elements)} elements; its shape holds {count}")
    return np.array(elements, np.object_)


def _text(raw: bytes, name: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"input {name!r} has an element that is not UTF-8") from error


def to_bytes(output: Array) -> bytes:
    """A tensor as raw bytes."""
    if output.dtype.kind == "O":
        encoded = [str(element).encode() for element in output.reshape(-1)]
        return b"".join(struct.pack("<I", len(element)) + element for element in encoded)
    return np.ascontiguousarray(output).tobytes()


def to_json(name: str, datatype: str, output: Array) -> Any:  # noqa: ANN401 - an array or a list
    """A tensor as what orjson writes as a flat list."""
    if datatype == "FP16":
        raise BadRequest(f"output {name!r}: FP16 has no JSON form; ask for it as binary data")
    if output.dtype.kind == "f" and not np.isfinite(output).all():
        raise BadRequest(
            f"output {name!r} has NaN or infinity, which JSON has not; ask for it as binary data"
        )
    return (
        np.ascontiguousarray(output).reshape(-1) if output.dtype.kind != "O" else output.reshape(-1).tolist()
    )
