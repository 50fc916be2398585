"""Uploads that are refused: the kind of problem, and what it points at."""

from pathlib import Path

import pytest

from posneg.service.datasets.intake import prepare
from posneg.service.errors import InvalidRequest, ServiceError, TooLarge, Unavailable
from posneg.service.settings import Settings
from tests.coco_zips import box, document, image, picture, pictures, simple, zipped


def refusal(tmp_path: Path, body: bytes, **settings: int) -> ServiceError:
    (tmp_path / "body").write_bytes(body)
    with pytest.raises(ServiceError) as caught:
        prepare(tmp_path / "body", tmp_path, Settings(data=tmp_path, **settings))
    return caught.value


def test_an_unsafe_name_is_pointed_at(tmp_path: Path) -> None:
    """By a JSON pointer whose first step is the entry."""
    error = refusal(tmp_path, zipped({"../x~y": b"evil"}))

    assert isinstance(error, InvalidRequest)
    assert [(f.pointer, f.code) for f in error.faults] == [("/..~1x~0y", "unsafe_name")]


def test_limits_are_named_by_their_setting(tmp_path: Path) -> None:
    """413, and where to read it."""
    files = zipped({"train.json": simple([1]), **pictures("", [1])})
    by_count = refusal(tmp_path, files, max_dataset_files=1)
    by_size = refusal(tmp_path, zipped({"zeros": bytes(2**20 + 1)}), max_dataset_mib=1)

    assert isinstance(by_count, TooLarge)
    assert "max_dataset_files" in by_count.detail
    assert isinstance(by_size, TooLarge)
    assert "max_dataset_mib" in by_size.detail


def test_an_unknown_layout_is_a_fault(tmp_path: Path) -> None:
    """That says what was found and what is expected."""
    error = refusal(tmp_path, zipped({"a.txt": b"hello"}))

    assert isinstance(error, InvalidRequest)
    assert error.faults[0].code == "unknown_layout"
    assert "1 .txt" in error.detail
    assert "expected COCO" in error.detail


def test_nothing_usable_lists_the_reasons(tmp_path: Path) -> None:
    """Each with a pointer through the archive into the file."""
    files = {"a/train.json": document([image(1)], [box(7, 1, [0, 0, 0, 0])]), "a/1.png": picture()}
    error = refusal(tmp_path, zipped(files))

    pointers = {f.code: f.pointer for f in error.faults}
    assert pointers["nothing_usable"] == ""
    assert pointers["box_empty"] == "/a~1train.json/annotations/0/bbox"


def test_a_full_disk_is_no_fault_of_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """503, to be sent again."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("posneg.service.datasets.intake.pack", full)
    error = refusal(tmp_path, zipped({"train.json": simple([1, 2]), **pictures("", [1, 2])}))

    assert isinstance(error, Unavailable)
    assert "disk is full" in error.detail


def test_the_upload_is_gone_once_it_is_unpacked(tmp_path: Path) -> None:
    """A large one would be there three times."""
    (tmp_path / "body").write_bytes(zipped({"train.json": simple([1, 2]), **pictures("", [1, 2])}))

    prepared = prepare(tmp_path / "body", tmp_path, Settings(data=tmp_path))

    assert not (tmp_path / "body").exists()
    assert prepared.archive.is_file()
