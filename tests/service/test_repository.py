"""The model repository: versions that appear whole and keep their numbers, in a folder that Triton takes."""

import importlib.util
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from onnx import TensorProto

from posneg.service import model_config, repository
from posneg.service.errors import InvalidRequest, NotFound
from tests.service import onnx_models

DETAILS = {"labels": ["red", 'gr"een\n', "细胞"], "layout": "yolov8", "input_size": [64, 96]}


@pytest.fixture
def models(tmp_path):
    """An empty repository."""
    return tmp_path / "data" / "models"


@pytest.fixture
def file(tmp_path):
    """A detector's file."""
    return onnx_models.detector(tmp_path / "a.onnx")


def other(tmp_path, number):
    """Another file each time."""
    return onnx_models.detector(tmp_path / f"{number}.onnx", rows=onnx_models.ROWS + np.float32(number))


def test_versions_count_up_and_the_same_bytes_keep_theirs(models, file, tmp_path):
    """Publishing is idempotent by content; whatever is new gets the next number."""
    first = repository.publish(models, "nano", file, details=DETAILS)
    second = repository.publish(models, "nano", other(tmp_path, 2), details=DETAILS)
    again = repository.publish(models, "nano", file, details=DETAILS)

    assert (first.version, first.created) == (1, True)
    assert (second.version, second.created) == (2, True)
    assert (again.version, again.created) == (1, False)
    assert repository.versions(models, "nano") == [1, 2]


def test_a_version_is_what_was_published(models, file):
    """The bytes, the details, and what follows from the file itself."""
    repository.publish(models, "nano", file, details={**DETAILS, "job": "j1", "metrics": {"map": 0.5}})

    found = repository.read(models, "nano")

    assert found.file.read_bytes() == file.read_bytes()
    assert found.details["labels"] == DETAILS["labels"]
    assert found.details["job"] == "j1"
    assert found.details["inputs"] == [{"name": "images", "datatype": "FP32", "shape": [-1, 3, 64, 96]}]
    assert found.details["outputs"] == [{"name": "output0", "datatype": "FP32", "shape": [-1, 6, 126]}]
    assert found.sha256 == found.details["sha256"]
    assert found.details["parity"] is None


def test_a_number_is_never_given_twice_while_the_model_exists(models, file, tmp_path):
    """Also where somebody removed the newest version by hand."""
    repository.publish(models, "nano", file, details=DETAILS)
    repository.publish(models, "nano", other(tmp_path, 2), details=DETAILS)
    for left in (models / "nano" / "2").iterdir():
        left.unlink()
    (models / "nano" / "2").rmdir()

    assert repository.publish(models, "nano", other(tmp_path, 3), details=DETAILS).version == 3


def test_a_deleted_model_is_gone_and_begins_anew(models, file):
    """Nothing of it is left in the folder."""
    repository.publish(models, "nano", file, details=DETAILS)

    repository.delete(models, "nano")

    assert repository.names(models) == []
    assert not (models / "nano").exists()
    with pytest.raises(NotFound):
        repository.delete(models, "nano")
    assert repository.publish(models, "nano", file, details=DETAILS).version == 1


def test_foreign_files_are_left_alone(models, file):
    """Files, folders without models, folders that are no versions: none is listed, none is touched."""
    repository.publish(models, "nano", file, details=DETAILS)
    (models / "README.md").write_text("mine")
    (models / "empty").mkdir()
    (models / "no model" / "1").mkdir(parents=True)
    for folder in ("0", "01", "1x", "-1", "7", ".cache"):
        (models / "nano" / folder).mkdir()
    (models / "nano" / "3").write_text("a file")

    assert repository.names(models) == ["nano"]
    assert repository.versions(models, "nano") == [1]
    assert repository.publish(models, "nano", file, details=DETAILS).version == 1
    assert (models / "nano" / "7").is_dir()


def test_a_model_that_others_put_there_is_found(models, file):
    """A folder as Triton has it, without our notes, or with notes that are not ours."""
    for name, notes in (("theirs", None), ("broken", "{"), ("list", "[1]")):
        folder = models / name / "4"
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(file.read_bytes())
        if notes is not None:
            (folder / "posneg.json").write_text(notes)

        found = repository.read(models, name)

        assert (found.version, dict(found.details)) == (4, {})
        assert len(found.sha256) == 64
    assert repository.names(models) == ["broken", "list", "theirs"]


@pytest.mark.parametrize("name", ["", ".hidden", "-x", "a/b", "../up", "a b", "ä", "x" * 129])
def test_names_that_are_no_folder_are_refused(models, file, name):
    """They could leave the repository, or could not be part of an address."""
    with pytest.raises(InvalidRequest, match="no model name"):
        repository.publish(models, name, file, details=DETAILS)
    with pytest.raises(NotFound):
        repository.read(models, name)
    assert repository.names(models) == []


def test_what_a_dead_publisher_left_is_cleared_away(models, file):
    """A half-written version is never listed, and goes with the next publication."""
    left = models / "nano" / ".incoming-abc"
    left.mkdir(parents=True)
    (left / "model.onnx").write_bytes(b"half")

    assert repository.names(models) == []
    repository.publish(models, "nano", file, details=DETAILS)

    assert not left.exists()


def test_an_unknown_version_names_the_known_ones(models, file):
    """So that the caller can go on."""
    repository.publish(models, "nano", file, details=DETAILS)

    with pytest.raises(NotFound, match="no version 9; it has 1"):
        repository.read(models, "nano", 9)


def test_details_can_be_amended(models, file):
    """Labels that come later reach both our notes and Triton's; the stamp tells whoever holds the version."""
    repository.publish(models, "nano", file, details={**DETAILS, "labels": None})
    before = repository.stamp(models, "nano", 1)

    repository.amend(models, "nano", 1, {"labels": ["a", "b"]})

    assert repository.read(models, "nano").details["labels"] == ["a", "b"]
    assert (models / "nano" / "labels.txt").read_text() == "a\nb\n"
    assert repository.stamp(models, "nano", 1) != before


def _publish(models: Path, folder: Path, number: int) -> int:
    return repository.publish(models, "nano", folder / f"{number}.onnx", details=DETAILS).version


def test_publishers_in_several_processes_get_numbers_of_their_own(models, tmp_path):
    """Eight at once: eight versions, none lost, none double."""
    for number in range(8):
        other(tmp_path, number)
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        given = pool.starmap(_publish, [(models, tmp_path, number) for number in range(8)])

    assert sorted(given) == list(range(1, 9))
    assert repository.versions(models, "nano") == list(range(1, 9))


def triton_config(folder):
    """`config.pbtxt` as Triton's own protobuf reads it."""
    package = importlib.util.find_spec("tritonclient")
    path = Path(package.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return text_format.Parse((folder / "config.pbtxt").read_text(), module.ModelConfig()), module


def test_triton_reads_the_configuration(models, file):
    """Backend, batch, tensors without the batch, labels: checked with Triton's own schema."""
    repository.publish(models, "nano", file, details=DETAILS)

    config, schema = triton_config(models / "nano")

    assert (config.name, config.backend, config.max_batch_size) == ("nano", "onnxruntime", 8)
    assert [(t.name, t.data_type, list(t.dims)) for t in config.input] == [
        ("images", schema.TYPE_FP32, [3, 64, 96])
    ]
    assert [(t.name, list(t.dims), t.label_filename) for t in config.output] == [
        ("output0", [6, 126], "labels.txt")
    ]
    assert config.HasField("dynamic_batching")
    assert (models / "nano" / "labels.txt").read_text() == 'red\ngr"een\n细胞\n'


def test_triton_reads_a_model_without_a_batch(models, tmp_path):
    """A fixed first axis: no batch, all axes in dims; odd names survive; strings are TYPE_STRING."""
    name = 'x"\\\n'
    file = onnx_models.save(
        tmp_path / "fixed.onnx",
        [onnx_models.helper.make_node("Identity", [name], ["y"])],
        {name: (TensorProto.STRING, [2, "n"])},
        {"y": (TensorProto.STRING, [2, "n"])},
    )
    repository.publish(models, "fixed", file, details={})

    config, schema = triton_config(models / "fixed")

    assert config.max_batch_size == 0
    assert [(t.name, t.data_type, list(t.dims)) for t in config.input] == [
        (name, schema.TYPE_STRING, [2, -1])
    ]


def test_a_scalar_is_reshaped_for_triton():
    """Triton has no tensors without axes."""
    scalar = {"name": "s", "datatype": "FP32", "shape": []}
    config = model_config.config({"name": "m", "inputs": [scalar], "outputs": [scalar], "labels": None})

    assert config["input"] == [
        {"name": "s", "data_type": "TYPE_FP32", "dims": ["1"], "reshape": {"shape": []}}
    ]


def test_what_dead_processes_left_is_swept_away(tmp_path):
    """Old uploads and deletions; young ones belong to somebody, and everything else to somebody else."""
    for folder in (".upload-old", ".deleted-old", ".upload-young", "models", "old"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "model.onnx").write_bytes(b"x")
    for folder in (".upload-old", ".deleted-old", "old"):
        os.utime(tmp_path / folder, (0, 0))

    repository.sweep(tmp_path)

    assert {left.name for left in tmp_path.iterdir()} == {".upload-young", "models", "old"}
