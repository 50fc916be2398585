"""The child that meets an untrusted ONNX file first: loads it, runs it once, says what it saw.

`python -m posneg.service.serving.probe FILE WISHES` prints one JSON object: what is known of the model, or
`fault` with `code`, `parameter` and `detail`. Whatever else comes of it (a crash, an endless loop, memory
without end) comes to this process alone.
"""

import json
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from posneg.service.errors import InvalidRequest
from posneg.service.model_config import is_batchable, tensors_of
from posneg.service.serving.description import DescriptionError, Sample, describe, input_size_of
from posneg.service.serving.inputs import Size, zeros
from posneg.service.serving.sessions import RUNTIME_ERRORS, Session, reason
from posneg.service.serving.wishes import Wishes

MEMORY_BYTES = 16 * 2**30  # address space; a model that wants more is refused
UNDESCRIBED: dict[str, Any] = {"layout": None, "labels": None, "preprocessing": None, "warnings": []}


class ProbeError(Exception):
    """What is wrong with the file, or with what its owner says of it."""

    def __init__(self, code: str, detail: str, parameter: str | None = None) -> None:
        super().__init__(detail)
        self.fault = {"code": code, "detail": detail, "parameter": parameter}


def probe(file: Path, wishes: Wishes) -> dict[str, Any]:
    """What the file is: tensors, layout, labels, input size, preprocessing, whether it can be batched."""
    session = _load(file)
    try:
        inputs, outputs = tensors_of(file)
    except InvalidRequest as error:
        raise ProbeError("unsupported_tensor", error.detail) from error
    try:
        size = input_size_of(inputs, session.metadata, wishes)
        sample = _run(session, inputs, outputs, 1, size)
        description = _describe(session.metadata, inputs, sample, size, wishes)
    except DescriptionError as error:
        raise ProbeError("does_not_fit", str(error), error.parameter) from error
    batchable = sample is not None and is_batchable([*inputs, *outputs])
    if batchable:
        two = _run(session, inputs, outputs, 2, size)
        batchable = two is not None and all(np.shape(output)[:1] == (2,) for output in two.values())
    return {"inputs": inputs, "outputs": outputs, "input_size": size, "batchable": batchable, **description}


def _load(file: Path) -> Session:
    try:
        return Session(file, threads=1, cuda=False)
    except RUNTIME_ERRORS as error:
        raise _load_error(error) from error


def _load_error(error: Exception) -> ProbeError:
    text = reason(error)
    if "xternal data" in text:
        return ProbeError(
            "external_data", "its weights lie in another file (external data); send one file that holds them"
        )
    if type(error).__name__ == "InvalidProtobuf" or "No graph was found" in text:
        return ProbeError("not_onnx", "not an ONNX file: its bytes are no ONNX model")
    return ProbeError("invalid_onnx", f"ONNX Runtime cannot load it: {text}")


def _run(
    session: Session,
    inputs: Sequence[Mapping[str, Any]],
    outputs: Sequence[Mapping[str, Any]],
    rows: int,
    size: Size | None,
) -> dict[str, Any] | None:
    """Outputs by name for zeros; None where the model cannot take these."""
    names = [output["name"] for output in outputs]
    try:
        return dict(zip(names, session.run(names, zeros(inputs, rows, size)), strict=True))
    except RUNTIME_ERRORS as error:
        if size is None or rows > 1:  # other models may well refuse zeros, and a batch may be fixed inside
            return None
        raise ProbeError("model_does_not_run", f"it loads, and fails on an image: {reason(error)}") from error


def _describe(
    metadata: Mapping[str, str],
    inputs: Sequence[Mapping[str, Any]],
    sample: Mapping[str, Any] | None,
    size: Size | None,
    wishes: Wishes,
) -> dict[str, Any]:
    if size is None or sample is None:
        if wishes != Wishes():
            raise DescriptionError("layout", "the model takes no RGB images, so it gives no detections")
        warning = "no input has the shape of RGB images; use /v2"
        return {**UNDESCRIBED, "warnings": [warning]}
    return describe(inputs, metadata, Sample(outputs=sample, input_size=size), wishes)


def main() -> None:
    """Print what is known of the file in the first argument, given the wishes in the second, as JSON."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    told = json.loads(sys.argv[2])
    wishes = Wishes(
        layout=told["layout"],
        labels=tuple(told["labels"]) if told["labels"] is not None else None,
        input_size=tuple(told["input_size"]) if told["input_size"] is not None else None,
    )
    try:
        answer = probe(Path(sys.argv[1]), wishes)
    except ProbeError as error:
        answer = {"fault": error.fault}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
