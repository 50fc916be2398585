"""A safetensors body: columns as tensors named by where they belong, the rest as JSON in the metadata.

The format (huggingface.co/docs/safetensors): 8 bytes of header length, little endian; the header, JSON, with
name → dtype, shape, data_offsets, and `__metadata__`; the bytes. The library's reader takes a file or leaves
the metadata out, and raises for the first fault only.
"""

import math
import re
from typing import Any, TypeGuard

import numpy as np

from posneg.service.errors import InvalidRequest
from posneg.service.schemas.columns import READ
from posneg.service.schemas.decoding import decode
from posneg.service.schemas.faults import Faults, below, shown, suggestion

Array = np.ndarray[Any, Any]
MAX_HEADER = 64 * 2**20
MAX_TENSORS = 65_536
MAX_DIMENSIONS = 3
MAX_LENGTH = 2**31
NAME = re.compile(r"images\.(0|[1-9][0-9]{0,8})\.predictions\.([a-z]+)")
COLUMNS = (*READ, "sampled")
DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
}


def open_safetensors(body: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """The request in the metadata, with the tensors put where their names say."""
    header, data = _split(body)
    metadata = header.pop("__metadata__", None)
    text = metadata.get("request") if type(metadata) is dict else None
    if type(text) is not str:
        raise _refusal("its metadata has no key `request` with the rest of the request as JSON")
    if len(header) > MAX_TENSORS:
        raise _refusal(f"{len(header)} tensors; at most {MAX_TENSORS}")
    document = decode(text.encode())
    faults = Faults()
    for name, entry in header.items():
        array = _tensor(name, entry, data, faults)
        if array is not None:
            _put(document, name, array, faults)
    faults.raise_if_any()
    return document


def _split(body: bytes) -> tuple[dict[str, Any], memoryview]:
    length = int.from_bytes(body[:8], "little")
    if len(body) < 8 or length > len(body) - 8:
        raise _refusal("its header is longer than the body")
    if length > MAX_HEADER:
        raise _refusal(f"its header takes {length} bytes; at most {MAX_HEADER}")
    header = decode(body[8 : 8 + length])
    if type(header) is not dict:
        raise _refusal("its header is no JSON object")
    return header, memoryview(body)[8 + length :]


def _tensor(name: str, entry: Any, data: memoryview, faults: Faults) -> Array | None:  # noqa: ANN401
    pointer = _pointer(name)
    fields: dict[str, Any] = entry if type(entry) is dict else {}
    dtype, shape, offsets = (fields.get(key) for key in ("dtype", "shape", "data_offsets"))
    if type(dtype) is not str or dtype not in DTYPES:
        faults.add(pointer, f"dtype {shown(dtype)} is none of {', '.join(DTYPES)}", "unknown_value")
        return None
    if not _are_lengths(shape) or len(shape) > MAX_DIMENSIONS:
        detail = f"a tensor's shape has at most {MAX_DIMENSIONS} lengths"
        faults.add(pointer, detail, "wrong_shape")
        return None
    kind = np.dtype(DTYPES[dtype])
    size = math.prod(shape) * kind.itemsize
    if not _are_lengths(offsets) or len(offsets) != 2 or not offsets[0] <= offsets[1] <= len(data):
        faults.add(pointer, "its data_offsets do not lie in the body", "out_of_range")
        return None
    if offsets[1] - offsets[0] != size:
        faults.add(pointer, f"{offsets[1] - offsets[0]} bytes; its shape takes {size}", "wrong_length")
        return None
    array = np.frombuffer(data[offsets[0] : offsets[1]], dtype=kind).reshape(shape)
    return _from_bfloat16(array) if dtype == "BF16" else array


def _from_bfloat16(bits: Array) -> Array:
    """A bfloat16 is the upper half of a float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _put(document: Any, name: str, array: Array, faults: Faults) -> None:  # noqa: ANN401 - any JSON value
    """Make a tensor a column of its image, which the request has to list."""
    match = NAME.fullmatch(name)
    if match is None or match[2] not in COLUMNS:
        hint = "" if match is None or faults.full else f"; {suggestion(match[2], COLUMNS)}"
        detail = f"tensors are called images.<number>.predictions.<column>{hint}"
        faults.add(_pointer(name), detail, "unknown_field")
        return
    index, column = int(match[1]), match[2]
    images = document.get("images") if type(document) is dict else None
    image = images[index] if type(images) is list and index < len(images) else None
    if type(image) is not dict:
        faults.add(
            f"/images/{index}", f"the request lists no such image, but tensor {name} is its", "missing_field"
        )
        return
    columns = image.get("predictions")
    if columns is None:
        columns = image["predictions"] = {}
    if type(columns) is not dict or columns.get(column) is not None:
        detail = "both in the request and as a tensor" if type(columns) is dict else "a tensor beside a list"
        faults.add(_pointer(name), detail, "conflicting_fields")
        return
    columns[column] = array


def _are_lengths(value: Any) -> TypeGuard[list[int]]:  # noqa: ANN401 - any JSON value
    return type(value) is list and all(type(v) is int and 0 <= v <= MAX_LENGTH for v in value)


def _pointer(name: str) -> str:
    return "/" + name.replace(".", "/") if NAME.fullmatch(name) else below("", name)


def _refusal(reason: str) -> InvalidRequest:
    return InvalidRequest.at("", f"not a safetensors request: {reason}", "invalid_safetensors")
