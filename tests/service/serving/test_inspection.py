"""Untrusted files: met by a child process, refused with a reason, and never dangerous to this one."""

import stat
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from posneg.service.errors import InvalidRequest
from posneg.service.serving.inspection import inspect
from posneg.service.serving.wishes import Wishes
from tests.service import onnx_models


def refusal(file, wishes=None, **options):
    """The one fault that a file is refused with."""
    with pytest.raises(InvalidRequest) as refused:
        inspect(file, wishes or Wishes(), **options)
    (fault,) = refused.value.faults
    assert str(file.parent) not in fault.detail
    return fault


@pytest.mark.parametrize(
    "content", [b"", b"not a model", b"\x89PNG\r\n\x1a\n" + bytes(99), bytes(99), b"\x08\x0a"]
)
def test_an_onnx_that_is_none_is_refused(tmp_path, content):
    """Text, a picture, zeros, nothing, and a protobuf without a graph."""
    file = tmp_path / "model.onnx"
    file.write_bytes(content)

    assert refusal(file).code == "not_onnx"


def test_a_detector_is_described(tmp_path):
    """Tensors, layout, labels from the metadata, size, and that requests may share a run."""
    file = onnx_models.detector(tmp_path / "model.onnx", properties={"names": "{0: 'red', 1: 'green'}"})

    found = inspect(file, Wishes())

    assert found["inputs"] == [{"name": "images", "datatype": "FP32", "shape": [-1, 3, 64, 96]}]
    assert (found["layout"], found["labels"]) == ("yolov8", ["red", "green"])
    assert (found["input_size"], found["batchable"]) == ([64, 96], True)


def test_what_the_owner_says_is_used_and_checked(tmp_path):
    """Labels and sizes that fit, and the parameter that does not."""
    file = onnx_models.detector(tmp_path / "model.onnx", size=("h", "w"))

    found = inspect(file, Wishes(labels=("a", "b"), input_size=(32, 64)))

    assert (found["labels"], found["input_size"]) == (["a", "b"], [32, 64])
    assert refusal(file, Wishes(labels=("a",))).pointer == "/query/labels"
    assert refusal(file, Wishes(layout="detr")).pointer == "/query/layout"


def test_a_fixed_batch_is_no_batch(tmp_path):
    """Whether the first axis is fixed outright or only inside the graph."""
    fixed = onnx_models.detector(tmp_path / "fixed.onnx", batch=1)
    hidden = onnx_models.save(
        tmp_path / "hidden.onnx",
        [helper.make_node("Reshape", ["images", "shape"], ["output0"])],
        {"images": (TensorProto.FLOAT, ["b", 3, 4, 4])},
        {"output0": (TensorProto.FLOAT, ["c", 48])},
        constants={"shape": np.array([1, -1])},
    )

    assert inspect(fixed, Wishes())["batchable"] is False
    assert inspect(hidden, Wishes())["batchable"] is False


def test_a_model_without_images_is_served_as_tensors(tmp_path):
    """No layout, a warning, and nothing that one could say of its layout."""
    file = onnx_models.add_sub(tmp_path / "model.onnx")

    found = inspect(file, Wishes())

    assert (found["layout"], found["input_size"], found["batchable"]) == (None, None, True)
    assert "/v2" in found["warnings"][0]
    assert refusal(file, Wishes(layout="yolov8")).pointer == "/query/layout"


def test_an_operator_that_nobody_knows_is_refused(tmp_path):
    """With what ONNX Runtime says, without the path of the file."""
    graph = helper.make_graph(
        [helper.make_node("Foo", ["x"], ["y"], domain="mine")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("mine", 1)]
    file = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), file)

    fault = refusal(file)

    assert fault.code == "invalid_onnx"
    assert "mine:Foo" in fault.detail


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname", "missing.bin"])
def test_weights_elsewhere_are_refused(tmp_path, location):
    """Outside the folder, anywhere on the machine, or in a file that was not sent."""
    (tmp_path / "secret.bin").write_bytes(bytes(12))
    folder = tmp_path / "upload"
    folder.mkdir()
    weights = numpy_helper.from_array(np.ones(3, np.float32), "w")
    external_data_helper.set_external_data(weights, location)
    weights.ClearField("raw_data")
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    (folder / "model.onnx").write_bytes(model.SerializeToString())

    assert refusal(folder / "model.onnx").code == "external_data"


def test_a_model_that_asks_for_all_memory_is_refused(tmp_path):
    """A tensor of 256 GiB: the child's address space ends before the machine's."""
    file = onnx_models.save(
        tmp_path / "model.onnx",
        [
            helper.make_node("ConstantOfShape", ["huge"], ["zeros"]),
            helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=0),
            helper.make_node("Mul", ["images", "sum"], ["output0"]),
        ],
        {"images": (TensorProto.FLOAT, ["b", 3, 4, 4])},
        {"output0": (TensorProto.FLOAT, ["b", 3, 4, 4])},
        constants={"huge": np.array([1 << 36])},
    )

    assert refusal(file).code in ("model_does_not_run", "model_crashes", "invalid_onnx")


def test_a_model_that_never_answers_is_refused(tmp_path):
    """An endless loop ends with its process."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Identity", ["v"], ["w"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, None),
        ],
    )
    file = onnx_models.save(
        tmp_path / "model.onnx",
        [helper.make_node("Loop", ["", "go", "images"], ["output0"], body=body)],
        {"images": (TensorProto.FLOAT, ["b", 3, 4, 4])},
        {"output0": (TensorProto.FLOAT, ["b", 3, 4, 4])},
        constants={"go": np.array(True)},
    )

    assert refusal(file, timeout_s=5).code == "model_too_slow"


def test_a_crash_takes_down_the_child_alone(tmp_path, monkeypatch):
    """A stand-in for the interpreter that ends as a fault in native code would end it."""
    crashing = tmp_path / "python"
    crashing.write_text("#!/bin/sh\nkill -SEGV $$\n")
    crashing.chmod(crashing.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(crashing))

    assert refusal(onnx_models.detector(tmp_path / "model.onnx")).code == "model_crashes"


def test_the_child_knows_no_secret(tmp_path, monkeypatch):
    """Its environment holds what it needs to start, and no key."""
    telling = tmp_path / "python"
    telling.write_text(f"#!/bin/sh\nenv > {tmp_path}/environment\nexit 1\n")
    telling.chmod(telling.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(telling))
    monkeypatch.setenv("POSNEG_API_KEYS", "secret-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-key")

    refusal(onnx_models.detector(tmp_path / "model.onnx"))

    assert "secret-key" not in (tmp_path / "environment").read_text()
