"""A model's tensors and configuration in Triton's terms: JSON for callers, protobuf text on disk."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posneg.service.errors import InvalidRequest

if TYPE_CHECKING:
    import onnx

PLATFORM = "onnxruntime_onnx"
DEFAULT_MAX_BATCH_SIZE = 8
DATATYPES = {
    "BOOL": "BOOL",
    "UINT8": "UINT8",
    "UINT16": "UINT16",
    "UINT32": "UINT32",
    "UINT64": "UINT64",
    "INT8": "INT8",
    "INT16": "INT16",
    "INT32": "INT32",
    "INT64": "INT64",
    "FLOAT16": "FP16",
    "FLOAT": "FP32",
    "DOUBLE": "FP64",
    "BFLOAT16": "BF16",
    "STRING": "BYTES",
}
"""ONNX element type → the Open Inference Protocol's name."""

Tensor = dict[str, Any]
"""`{"name", "datatype", "shape"}`; a shape has -1 where an axis is free."""


def tensors_of(file: Path) -> tuple[list[Tensor], list[Tensor]]:
    """Inputs and outputs of an ONNX file that is known to be one; raises `InvalidRequest` for other types."""
    import onnx  # here, since a start without models needs none of it

    graph = onnx.load(file, load_external_data=False).graph
    constants = {initializer.name for initializer in graph.initializer}
    inputs = [_tensor(value) for value in graph.input if value.name not in constants]
    return inputs, [_tensor(value) for value in graph.output]


def _tensor(value: "onnx.ValueInfoProto") -> Tensor:
    from onnx import TensorProto

    kind = value.type.tensor_type
    name = TensorProto.DataType.Name(kind.elem_type) if value.type.HasField("tensor_type") else "no tensor"
    if name not in DATATYPES:
        raise InvalidRequest.at("", f"{value.name!r} is {name}, which cannot be served", "unsupported_tensor")
    shape = [axis.dim_value if axis.HasField("dim_value") else -1 for axis in kind.shape.dim]
    return {"name": value.name, "datatype": DATATYPES[name], "shape": shape}


def is_batchable(tensors: Sequence[Tensor]) -> bool:
    """Whether requests may share a run, as far as the shapes tell: every first axis is free."""
    return all(tensor["shape"][:1] == [-1] for tensor in tensors)


def config(details: Mapping[str, Any], *, max_batch_size: int = DEFAULT_MAX_BATCH_SIZE) -> dict[str, Any]:
    """Triton's ModelConfig as JSON; `dims` are without the batch where there is one.

    `details` has name, inputs, outputs and labels; `batchable` in it overrules what the shapes seem to say.
    """
    inputs, outputs = details["inputs"], details["outputs"]
    batchable = details.get("batchable", is_batchable([*inputs, *outputs])) is True
    labelled = {"label_filename": "labels.txt"} if details.get("labels") else {}
    made: dict[str, Any] = {
        "name": details["name"],
        "platform": PLATFORM,
        "backend": "onnxruntime",
        "default_model_filename": "model.onnx",
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": max_batch_size if batchable else 0,
        "input": [_config_tensor(tensor, batchable) for tensor in inputs],
        "output": [{**_config_tensor(tensor, batchable), **labelled} for tensor in outputs],
    }
    return {**made, "dynamic_batching": {}} if batchable else made


def _config_tensor(tensor: Tensor, batchable: bool) -> dict[str, Any]:
    shape = tensor["shape"][1:] if batchable else tensor["shape"]
    datatype = "STRING" if tensor["datatype"] == "BYTES" else tensor["datatype"]
    made: dict[str, Any] = {"name": tensor["name"], "data_type": f"TYPE_{datatype}"}
    if shape:
        return {**made, "dims": [str(axis) for axis in shape]}  # int64 is text in protobuf's JSON
    return {**made, "dims": ["1"], "reshape": {"shape": []}}  # Triton has no tensors without axes


def config_text(details: Mapping[str, Any]) -> str:
    """The same as protobuf text: what `config.pbtxt` holds."""
    return "".join(f"{line}\n" for line in _fields(config(details)))


def _fields(message: Mapping[str, Any]) -> list[str]:
    return [line for name, value in message.items() for line in _field(name, value)]


def _field(name: str, value: object) -> list[str]:
    if isinstance(value, Mapping):
        return [f"{name} {{", *(f"  {line}" for line in _fields(value)), "}"]
    if isinstance(value, list) and name in ("dims", "shape"):
        return [f"{name}: [{', '.join(map(str, value))}]"]
    if isinstance(value, list):
        return [line for element in value for line in _field(name, element)]
    if isinstance(value, str) and not value.startswith("TYPE_"):
        return [f"{name}: {_quoted(value)}"]
    return [f"{name}: {value}"]


def _quoted(text: str) -> str:
    """A string of protobuf text: every byte that is not plain as octal, which each of its readers knows."""
    plain = (
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\{byte:03o}" for byte in text.encode()
    )
    return f'"{"".join(plain)}"'
