"""Tiny ONNX models, made in milliseconds, whose answers are known."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE = (64, 96)
LABELS = ["red", "green"]
# cx, cy, w, h in input pixels, then what the image's mean is multiplied with for each class.
ROWS = np.array(
    [
        [20, 20, 16, 8, 1.0, 0.0],
        [20.5, 20, 16, 8, 0.9, 0.0],  # overlaps the first: suppressed
        [20, 20, 16, 8, 0.0, 0.8],  # another class: kept
        [60, 40, 10, 20, 0.7, 0.0],
        *[[5, 5, 4, 4, 0.0, 0.0]] * 121,  # 64x96 at strides 8, 16, 32 has 126 points
        [90, 60, 30, 30, 0.5, 0.0],  # reaches out of the input
    ],
    np.float32,
)


def save(
    file: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, tuple[int, Sequence[int | str]]],
    outputs: Mapping[str, tuple[int, Sequence[int | str]]],
    *,
    constants: Mapping[str, np.ndarray] | None = None,
    properties: Mapping[str, str] | None = None,
) -> Path:
    """Write a graph; inputs and outputs are name → (element type, shape)."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info(name, *kind) for name, kind in inputs.items()],
        [helper.make_tensor_value_info(name, *kind) for name, kind in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, dict(properties or {}))
    onnx.checker.check_model(model)
    onnx.save(model, file)
    return file


def detector(
    file: Path,
    *,
    rows: np.ndarray = ROWS,
    layout: str = "yolov8",
    batch: int | str = "b",
    size: Sequence[int | str] = SIZE,
    properties: Mapping[str, str] | None = None,
) -> Path:
    """Finds the boxes of `rows` in any image, with scores in proportion to the image's mean (0..1).

    `rows` are [N, D]: cx, cy, w, h, then scores (yolov5: objectness among them, end_to_end: score and class).
    """
    free = np.zeros(rows.shape[1], np.float32)
    free[4 : 5 if layout == "end_to_end" else None] = 1
    table, axes = (rows.T, free[:, None]) if layout == "yolov8" else (rows, free[None, :])
    nodes = [
        helper.make_node("ReduceMean", ["images", "axes"], ["mean4"]),
        helper.make_node("Squeeze", ["mean4", "last"], ["mean"]),
        helper.make_node("Mul", ["scores", "mean"], ["scaled"]),
        helper.make_node("Add", ["fixed", "scaled"], ["output0"]),
    ]
    constants = {
        "axes": np.array([1, 2, 3]),
        "last": np.array([3]),
        "scores": (table * axes)[None].astype(np.float32),
        "fixed": (table * (1 - axes))[None].astype(np.float32),
    }
    return save(
        file,
        nodes,
        {"images": (TensorProto.FLOAT, [batch, 3, *size])},
        {"output0": (TensorProto.FLOAT, [batch, *table.shape])},
        constants=constants,
        properties=properties,
    )


def queries(
    file: Path, boxes: np.ndarray, logits: np.ndarray, *, names: tuple[str, str] = ("logits", "pred_boxes")
) -> Path:
    """A set predictor: the same boxes (shares of the input) and logits for any image."""
    nodes = [
        helper.make_node("ReduceMean", ["images", "axes"], ["mean4"]),
        helper.make_node("Squeeze", ["mean4", "last"], ["mean"]),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["l", "nothing"], [names[0]]),
        helper.make_node("Add", ["b", "nothing"], [names[1]]),
    ]
    constants = {
        "axes": np.array([1, 2, 3]),
        "last": np.array([3]),
        "zero": np.zeros(1, np.float32),
        "l": logits[None].astype(np.float32),
        "b": boxes[None].astype(np.float32),
    }
    return save(
        file,
        nodes,
        {"images": (TensorProto.FLOAT, ["b", 3, *SIZE])},
        {
            names[0]: (TensorProto.FLOAT, ["b", *logits.shape]),
            names[1]: (TensorProto.FLOAT, ["b", *boxes.shape]),
        },
        constants=constants,
    )


def add_sub(file: Path, kind: int = TensorProto.INT32, width: int | str = 16) -> Path:
    """Triton's own first example: sum and difference of two rows."""
    nodes = [
        helper.make_node("Add", ["INPUT0", "INPUT1"], ["OUTPUT0"]),
        helper.make_node("Sub", ["INPUT0", "INPUT1"], ["OUTPUT1"]),
    ]
    shape = ["b", width]
    return save(
        file,
        nodes,
        {"INPUT0": (kind, shape), "INPUT1": (kind, shape)},
        {"OUTPUT0": (kind, shape), "OUTPUT1": (kind, shape)},
    )


def identity(file: Path, kind: int, shape: Sequence[int | str] = ("b", "n")) -> Path:
    """Gives back what it gets."""
    node = helper.make_node("Identity", ["x"], ["y"])
    return save(file, [node], {"x": (kind, shape)}, {"y": (kind, shape)})


def endless(file: Path) -> Path:
    """Loads like any other, and never ends once a value is above 0."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Identity", ["v"], ["w"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, ["b", 1]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, ["b", 1]),
        ],
    )
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
        helper.make_node("Greater", ["largest", "zero"], ["go0"]),
        helper.make_node("Loop", ["", "go0", "x"], ["y"], body=body),
    ]
    shape = ["b", 1]
    return save(
        file,
        nodes,
        {"x": (TensorProto.FLOAT, shape)},
        {"y": (TensorProto.FLOAT, shape)},
        constants={"zero": np.zeros((), np.float32)},
    )
