"""Parity: a faithful export passes with its figures, a broken one is refused and says what broke first."""

import json

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posneg.models.export.onnx import export
from posneg.models.export.parity import (
    BOX_TOLERANCE_PX,
    SCORE_THRESHOLD,
    SCORE_TOLERANCE,
    ParityError,
    compare,
    parity,
)


@pytest.fixture(scope="module")
def file(detector, tmp_path_factory):
    """An export of the tiny detector."""
    path = tmp_path_factory.mktemp("parity") / "model.onnx"
    export(detector, labels=["a", "b", "c"], input_size=(64, 96), file=path)
    return path


def broken(file, tmp_path, change):
    """The file with `change` applied to its graph."""
    model = onnx.load(file)
    change(model.graph)
    path = tmp_path / "broken.onnx"
    onnx.save(model, path)
    return path


def test_a_faithful_export_passes(detector, file, images):
    """Every detection has its match within the tolerances, and the report is JSON."""
    report = parity(detector, file, images)

    assert report.ok
    assert report.diverged is None
    assert (report.images, report.unmatched_detector, report.unmatched_file) == (3, 0, 0)
    assert report.detections > 0
    assert report.max_raw_box_px <= BOX_TOLERANCE_PX
    assert report.max_raw_score <= SCORE_TOLERANCE
    assert json.loads(json.dumps(report.to_json(), allow_nan=False))["ok"] is True


def test_a_missing_sigmoid_is_refused_by_name(detector, file, images, tmp_path):
    """Logits where probabilities are due: the class column is named, boxes are not blamed."""

    def without_sigmoid(graph):
        for node in graph.node:
            if node.op_type == "Sigmoid" and not any(
                node.output[0] in other.input for other in graph.node if other.op_type == "Mul"
            ):
                node.op_type = "Identity"

    with pytest.raises(ParityError, match="probability of class 0") as refusal:
        parity(detector, broken(file, tmp_path, without_sigmoid), images)

    assert refusal.value.report.max_raw_score > SCORE_TOLERANCE
    assert not refusal.value.report.ok


def test_other_weights_are_refused(detector, file, images):
    """A file of another checkpoint is no export of this one."""
    other = type(detector)()

    with pytest.raises(ParityError, match=r"output0: cx of row \d+, image \d+"):
        parity(other, file, images)


def test_a_batch_written_into_the_graph_is_refused(detector, file, images, tmp_path):
    """A reshape that holds the batch as a number answers one image and fails on several."""

    def fixed_batch(graph):
        for initializer in graph.initializer:
            value = onnx.numpy_helper.to_array(initializer)
            if value.dtype == np.int64 and value.shape == (4,) and value[0] == -1:
                fixed = np.array([1, *value[1:]])
                initializer.CopyFrom(onnx.numpy_helper.from_array(fixed, initializer.name))

    path = broken(file, tmp_path, fixed_batch)
    assert path.read_bytes() != file.read_bytes()

    with pytest.raises(ParityError, match=r"does not (run|load)"):
        parity(detector, path, images)


def test_no_onnx_is_refused(detector, images, tmp_path):
    """Bytes that are no model are a parity error like any other."""
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a model")

    with pytest.raises(ParityError, match="does not load"):
        parity(detector, path, images)


def rows(*detections):
    """One image's rows: (cx, cy, w, h, score of class 0, score of class 1) each."""
    return np.array([detections], np.float64)


def test_swapped_sides_are_named():
    """x and y exchanged: cx is the first column that differs."""
    report = compare(rows((10, 40, 8, 6, 0.9, 0.1)), rows((40, 10, 6, 8, 0.9, 0.1)))

    assert report.diverged is not None
    assert report.diverged.startswith("output0: cx of row 0, image 0, is 40 in the file and 10")
    assert report.unmatched_detector > 0


def test_exact_ties_in_another_order_are_the_same_set():
    """Two detections of one score may come out of suppression in either order."""
    first, second = (10, 10, 8, 8, 0.5, 0), (50, 50, 8, 8, 0.5, 0)
    report = compare(rows(first, second), rows(first, second))

    assert report.ok
    assert report.detections == 2


def test_a_score_on_the_threshold_is_borderline():
    """Rounding that lifts a score over the threshold is no divergence, and is counted."""
    low, high = SCORE_THRESHOLD - 1e-6, SCORE_THRESHOLD + 1e-6
    report = compare(rows((10, 10, 8, 8, low, 0)), rows((10, 10, 8, 8, high, 0)))

    assert report.ok
    assert (report.borderline, report.unmatched_file) == (1, 0)


def test_nan_is_a_divergence():
    """A file that answers NaN is refused, and no NaN gets into the report."""
    report = compare(rows((10, 10, 8, 8, 0.9, 0)), rows((10, np.nan, 8, 8, 0.9, 0)))

    assert "cy of row 0" in str(report.diverged)
    json.dumps(report.to_json(), allow_nan=False)


@given(seed=st.integers(0, 10_000), noise=st.floats(0, 1))
def test_ok_is_exactly_within_the_tolerances(seed, noise):
    """Noise on boxes below the tolerance always passes, above it never."""
    random = np.random.default_rng(seed)
    clean = np.concatenate([random.random((1, 6, 4)) * 50 + 10, random.random((1, 6, 2))], -1)
    noisy = clean.copy()
    noisy[0, seed % 6, seed % 4] += noise

    assert compare(clean, noisy).ok == (abs(noisy - clean).max() <= BOX_TOLERANCE_PX)


def test_no_images_is_a_callers_mistake(detector, file):
    """A report about nothing would always be good."""
    with pytest.raises(ValueError, match="at least one image"):
        parity(detector, file, [])
