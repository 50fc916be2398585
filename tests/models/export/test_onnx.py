"""The exported file: any batch, nothing of the machine that wrote it, everything that a reader needs."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest

from posneg.models.export.onnx import export

LABELS = ["red cell", "cellule", "细胞"]


@pytest.fixture(scope="module")
def file(detector, tmp_path_factory):
    """An export of the tiny detector."""
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    export(detector, labels=LABELS, input_size=(64, 96), file=path)
    return path


def test_any_batch_runs_and_rows_do_not_depend_on_it(file):
    """The first axis is free, and an image's rows are the same alone and in company."""
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).random((5, 3, 64, 96), np.float32)

    (together,) = session.run(None, {"images": images})
    alone = [session.run(["output0"], {"images": image[None]})[0] for image in images]

    assert together.shape == (5, 4 + 3, 8 * 12 + 4 * 6)
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-4)


def test_shapes_are_fixed_but_for_the_batch(file):
    """One symbolic axis in and out, so that batching servers see that they may batch."""
    graph = onnx.load(file).graph

    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }

    assert shapes == {"images": ["batch", 3, 64, 96], "output0": ["batch", 7, 120]}


def test_metadata_says_how_to_use_it(file):
    """Labels in any script, layout, input size and preprocessing are properties of the file."""
    properties = {p.key: p.value for p in onnx.load(file).metadata_props}

    assert properties["posneg.format"] == "1"
    assert properties["posneg.layout"] == "yolov8"
    assert json.loads(properties["posneg.labels"]) == LABELS
    assert json.loads(properties["posneg.input_size"]) == [64, 96]
    assert json.loads(properties["posneg.preprocessing"]) == {
        "color": "RGB",
        "scale": 1 / 255,
        "letterbox": "center",
        "fill": 114,
        "resample": "bilinear",
    }


def test_no_path_of_the_machine_is_in_the_file(file):
    """The exporter's stack traces are taken out, and every tensor is inside the one file."""
    assert b".py" not in file.read_bytes()
    assert [path.name for path in file.parent.iterdir()] == ["model.onnx"]


def test_only_operators_of_the_standard_domain(file):
    """Any ONNX runtime can run it; opset 18, which TensorRT and ONNX Runtime read."""
    model = onnx.load(file)

    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 18)]
    assert {node.domain for node in model.graph.node} == {""}
    assert not model.functions


def test_same_weights_same_bytes(detector, file, tmp_path):
    """So that publishing an export twice makes one version."""
    again = tmp_path / "again.onnx"

    export(detector, labels=LABELS, input_size=(64, 96), file=again)

    assert again.read_bytes() == file.read_bytes()


def test_the_detector_stays_as_it_was(detector, file):
    """Exporting in the middle of training changes nothing: mode and weights are a copy's."""
    assert detector.training
    assert all(module.training for module in detector.modules())


def test_a_detector_that_fixes_the_batch_is_refused(detector, tmp_path):
    """Whoever takes the batch for a number hears of it, and gets no file that answers that batch alone."""

    class Fixed(type(detector)):
        def decode(self, raw):
            boxes, scores = super().decode(raw)
            return boxes.reshape(len(boxes), -1, 4), scores

    with pytest.raises(Exception, match="batch"):
        export(Fixed(), labels=LABELS, input_size=(64, 96), file=tmp_path / "model.onnx")

    assert not (tmp_path / "model.onnx").exists()
