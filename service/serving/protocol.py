"""Requests and responses of the Open Inference Protocol, version 2, its binary extension included.

A body is JSON, or JSON followed by raw tensors in the order of the inputs. Every fault of the caller's is a
`BadRequest`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from posneg.service.errors import BadRequest
from posneg.service.serving.inputs import NUMPY_TYPES, Array
from posneg.service.serving.tensors import from_bytes, from_json, to_bytes, to_json

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class InferRequest:
    """What is asked of a model: feeds by input name; outputs by name, each raw (True) or as JSON."""

    id: str | None
    feeds: dict[str, Array]
    rows: int
    outputs: dict[str, bool]
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Body:
    """A response's bytes; `json_length` of them are JSON, None where all are."""

    content: bytes
    json_length: int | None


def read_request(
    body: bytes,
    json_length: str | None,
    *,
    inputs: Sequence[Json],
    outputs: Sequence[Json],
    max_rows: int,
) -> InferRequest:
    """The request in `body`, checked against the model's tensors; `json_length` is what the header says.

    `max_rows` is how many rows a batch may have; 0: the model has no batch.
    """
    known = {tensor["name"]: tensor for tensor in inputs}
    asked = [tensor["name"] for tensor in outputs]
    length = _json_length(json_length, len(body))
    if length == 0 and json_length is not None:
        feeds = _raw_request(body, inputs, max_rows)
        return _request(None, feeds, max_rows, dict.fromkeys(asked, True), np.inf)
    message = _message(body[:length] if length is not None else body)
    raw = memoryview(body)[length:] if length is not None else None
    feeds = _feeds(message, raw, known)
    parameters = _parameters(message)
    wanted = _outputs(message, asked, raw_by_default=parameters.get("binary_data_output") is True)
    return _request(message.get("id"), feeds, max_rows, wanted, _timeout_s(parameters))


def write_response(
    request: InferRequest, outputs: Sequence[Array], datatypes: Mapping[str, str], *, model: str, version: int
) -> Body:
    """The answer, outputs in the order asked for."""
    described, raw = [], []
    for (name, binary), output in zip(request.outputs.items(), outputs, strict=True):
        entry: Json = {"name": name, "datatype": datatypes[name], "shape": list(np.shape(output))}
        if binary:
            raw.append(to_bytes(output))
            entry["parameters"] = {"binary_data_size": len(raw[-1])}
        else:
            entry["data"] = to_json(name, datatypes[name], output)
        described.append(entry)
    message: Json = {"model_name": model, "model_version": str(version), "outputs": described}
    if request.id is not None:
        message["id"] = request.id
    content = orjson.dumps(message, option=orjson.OPT_SERIALIZE_NUMPY)
    if not any(raw):
        return Body(content, None)
    return Body(b"".join((content, *raw)), len(content))


def _json_length(header: str | None, body_length: int) -> int | None:
    if header is None:
        return None
    if not header.isdecimal() or int(header) > body_length:
        raise BadRequest(
            f"Inference-Header-Content-Length is {header!r}; it is the number of bytes of the JSON, "
            f"0 to {body_length}, the length of the body"
        )
    return int(header)


def _message(content: bytes) -> Json:
    try:
        message = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}") from error
    if not isinstance(message, dict) or not isinstance(message.get("inputs"), list):
        raise BadRequest("the body is no object with a list of 'inputs'")
    if not isinstance(message.get("id"), str | None):
        raise BadRequest("'id' is no string")
    return message


def _parameters(message: Json) -> Json:
    parameters = message.get("parameters", {})
    if not isinstance(parameters, dict):
        raise BadRequest("'parameters' is no object")
    if reserved := [key for key in parameters if key.startswith("triton_")]:
        raise BadRequest(f"parameter {reserved[0]!r} is reserved: names may not begin with 'triton_'")
    return parameters


def _timeout_s(parameters: Json) -> float:
    """The longest time in the queue; the protocol counts microseconds."""
    timeout = parameters.get("timeout", 0)
    if not isinstance(timeout, int) or isinstance(timeout, bool) or timeout < 0:
        raise BadRequest(f"parameter 'timeout' is {timeout!r}; it is a number of microseconds")
    return timeout / 1e6 if timeout else np.inf


def _outputs(message: Json, known: Sequence[str], *, raw_by_default: bool) -> dict[str, bool]:
    asked = message.get("outputs") or [{"name": name} for name in known]
    if not isinstance(asked, list) or not all(isinstance(output, dict) for output in asked):
        raise BadRequest("'outputs' is no list of objects")
    wanted: dict[str, bool] = {}
    for output in asked:
        name, parameters = output.get("name"), output.get("parameters", {})
        if name not in known or name in wanted:
            raise BadRequest(f"output {name!r} is unknown or asked for twice; there is {', '.join(known)}")
        if not isinstance(parameters, dict):
            raise BadRequest(f"'parameters' of output {name!r} is no object")
        for unsupported in ("classification", "shared_memory_region"):
            if unsupported in parameters:
                raise BadRequest(f"{unsupported!r} of output {name!r} is not supported")
        wanted[name] = parameters.get("binary_data", raw_by_default) is True
    return wanted


def _feeds(message: Json, raw: memoryview | None, known: Mapping[str, Json]) -> dict[str, Array]:
    feeds: dict[str, Array] = {}
    position = 0
    for given in message["inputs"]:
        tensor = _tensor(given, known)
        if tensor["name"] in feeds:
            raise BadRequest(f"input {tensor['name']!r} comes twice")
        size = _binary_size(given)
        if size is None:
            feeds[tensor["name"]] = from_json(given)
            continue
        if raw is None:
            raise BadRequest(
                f"input {tensor['name']!r} is binary, but Inference-Header-Content-Length was not sent"
            )
        if size > len(raw) - position:
            missing = size - (len(raw) - position)
            raise BadRequest(f"expecting {missing} additional bytes for input {tensor['name']!r}")
        feeds[tensor["name"]] = from_bytes(raw[position : position + size], given)
        position += size
    if raw is not None and position != len(raw):
        raise BadRequest(
            f"unexpected additional input data: {len(raw) - position} bytes after the last input"
        )
    if missing_names := [name for name in known if name not in feeds]:
        raise BadRequest(f"input {missing_names[0]!r} is missing; the model takes {', '.join(known)}")
    return feeds


def _tensor(given: object, known: Mapping[str, Json]) -> Json:
    """The model's tensor that an input stands for, once its name, datatype and shape are right."""
    if not isinstance(given, dict) or not isinstance(given.get("name"), str):
        raise BadRequest("each of 'inputs' is an object with a 'name'")
    name, shape, datatype = given["name"], given.get("shape"), given.get("datatype")
    if name not in known:
        raise BadRequest(f"unexpected inference input {name!r}; the model takes {', '.join(known)}")
    if not isinstance(shape, list) or not all(type(axis) is int and axis >= 0 for axis in shape):
        raise BadRequest(f"'shape' of input {name!r} is {shape!r}; it is a list of numbers from 0")
    if not isinstance(given.get("parameters", {}), dict):
        raise BadRequest(f"'parameters' of input {name!r} is no object")
    if "shared_memory_region" in given.get("parameters", {}):
        raise BadRequest("shared memory is not supported; send the tensor")
    tensor = known[name]
    if datatype != tensor["datatype"]:
        raise BadRequest(f"input {name!r} is {datatype!r}; the model takes {tensor['datatype']}")
    _check_shape(name, shape, tensor["shape"])
    return tensor


def _check_shape(name: str, shape: Sequence[int], expected: Sequence[int]) -> None:
    fits = len(shape) == len(expected) and all(e in (-1, s) for s, e in zip(shape, expected, strict=True))
    if not fits:
        raise BadRequest(f"input {name!r} has the shape {list(shape)}; the model takes {list(expected)}")


def _binary_size(given: Json) -> int | None:
    size = given.get("parameters", {}).get("binary_data_size")
    if size is None:
        return None
    if type(size) is not int or size < 0:
        raise BadRequest(f"'binary_data_size' of input {given['name']!r} is {size!r}")
    if "data" in given:
        raise BadRequest(f"input {given['name']!r} has both 'data' and 'binary_data_size'")
    return size


def _raw_request(body: bytes, inputs: Sequence[Json], max_rows: int) -> dict[str, Array]:
    """The body is the one input, all of it; the shape follows from its length."""
    if len(inputs) != 1:
        raise BadRequest(f"a body without JSON is for models of one input; this one has {len(inputs)}")
    tensor = inputs[0]
    kind = np.dtype(NUMPY_TYPES.get(tensor["datatype"], np.void))
    shape = [1, *tensor["shape"][1:]] if max_rows else list(tensor["shape"])
    free = [axis for axis, size in enumerate(shape) if size == -1]
    if kind.kind in "OV" or len(free) > 1:
        raise BadRequest(f"the shape of input {tensor['name']!r} does not follow from the body's length")
    if free:
        row = math.prod(size for size in shape if size != -1) * kind.itemsize
        shape[free[0]] = len(body) // row if row else 0
    given = {"name": tensor["name"], "datatype": tensor["datatype"], "shape": shape}
    return {tensor["name"]: from_bytes(memoryview(body), given)}


def _request(
    request_id: str | None,
    feeds: dict[str, Array],
    max_rows: int,
    outputs: dict[str, bool],
    timeout_s: float,
) -> InferRequest:
    """The request, once the number of its rows is one and not too large."""
    rows = 1
    if max_rows:
        counts = {feed.shape[0] for feed in feeds.values()}
        rows = max(counts, default=1)
        if len(counts) > 1:
            raise BadRequest(f"the inputs have {sorted(counts)} rows; all have the same")
        if not 1 <= rows <= max_rows:
            raise BadRequest(f"inference request batch-size must be 1 to {max_rows}, and is {rows}")
    return InferRequest(id=request_id, feeds=feeds, rows=rows, outputs=outputs, timeout_s=timeout_s)
