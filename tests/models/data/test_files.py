"""Which split a path speaks of, and which file a name means."""

from pathlib import Path

import pytest

from posneg.models.data.files import Files, split_of
from tests.coco_zips import write


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("annotations/instances_train2017.json", "train"),
        ("annotations/instances_minival2014.json", "val"),
        ("pets/valid/_annotations.coco.json", "val"),
        ("Training/labels.json", "train"),
        ("test-dev.json", "test"),
        ("train/val.json", "val"),
        ("train/images/val/x.json", "val"),
        ("annotations.json", None),
        ("contrast/trainer/latest.json", None),
    ],
)
def test_the_split_is_the_nearest_word_that_names_one(path: str, split: str | None) -> None:
    """Whole words alone: a trainer is no training set."""
    assert split_of(path) == split


@pytest.mark.parametrize(
    ("name", "expected", "in_full"),
    [
        ("images/a/1.png", ["images/a/1.png"], True),
        ("a/1.PNG", ["images/a/1.png"], True),
        ("/somewhere/else/a/1.png", ["images/a/1.png"], False),
        ("1.png", ["images/a/1.png", "images/b/1.png"], True),
        ("c/1.png", ["images/a/1.png", "images/b/1.png"], False),
        ("2.png", ["train/2.png"], True),
        ("..\\val\\2.png", ["val/2.png"], True),
        ("3.png", ["3.png"], True),
        ("more/3.png", ["more/3.png"], True),
        ("4.png", [], False),
        ("", [], False),
        ("..", [], False),
    ],
)
def test_a_name_means_the_file_that_ends_like_it(
    tmp_path: Path, name: str, expected: list[str], in_full: bool
) -> None:
    """More shared folders win, then the same split."""
    paths = ("images/a/1.png", "images/b/1.png", "train/2.png", "val/2.png", "3.png", "more/3.png")
    files = Files(write(tmp_path, dict.fromkeys(paths, b"")))

    assert files.find(name, beside="train.json", split="train") == (expected, in_full)


def test_a_place_beside_the_annotations_comes_before_the_root(tmp_path: Path) -> None:
    """Both are meant by somebody; the nearer is the custom."""
    files = Files(write(tmp_path, dict.fromkeys(("a/1.png", "1.png", "images/1.png"), b"")))

    assert files.find("1.png", beside="a/train.json", split=None) == (["a/1.png"], True)
    assert files.find("1.png", beside="b/train.json", split=None) == (["1.png"], True)


def test_many_files_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    """Frames of videos: more namesakes than are ever compared."""
    paths = [f"images/video{v}/left/1.png" for v in range(200)]
    files = Files(write(tmp_path, dict.fromkeys(paths, b"")))

    assert files.find("video150/left/1.png", beside="train.json", split=None) == ([paths[150]], True)
    assert len(files.find("1.png", beside="train.json", split=None)[0]) > 1
