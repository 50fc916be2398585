"""What the tests of COCO share: layouts, reading a folder, looking into what was found."""

from pathlib import Path
from typing import Any

from posneg.models.data import layouts
from posneg.models.data.dataset import Dataset, Sample
from posneg.models.data.issues import Issue
from tests.coco_zips import CATEGORIES, box, document, image, pictures, simple, write

LIMIT = 1_000_000


def read(folder: Path, files: dict[str, bytes]) -> tuple[Dataset, list[Issue]]:
    return layouts.read(write(folder, files), name="pets", max_pixels=LIMIT)


def counts(dataset: Dataset) -> dict[str, int]:
    return {split: len(samples) for split, samples in dataset.splits.items()}


def codes(issues: list[Issue]) -> list[str]:
    return [i["code"] for i in issues]


def one(issues: list[Issue], code: str) -> Issue:
    found = [i for i in issues if i["code"] == code]
    assert len(found) == 1, f"{code} in {codes(issues)}"
    return found[0]


def two_splits(
    train_images: list[Any], annotations: list[Any], categories: list[Any] = CATEGORIES
) -> dict[str, bytes]:
    """A broken training file beside a validation file in order."""
    return {
        "train.json": document(train_images, annotations, categories),
        "val.json": simple([9]),
        **pictures("images/", [1, 2, 9]),
    }


def train(dataset: Dataset) -> tuple[Sample, ...]:
    return dataset.splits["train"]


LAYOUTS = {
    "the original": {
        "annotations/instances_train2017.json": simple([1, 2, 3]),
        "annotations/instances_val2017.json": simple([4]),
        "annotations/captions_train2017.json": document([image(1)], [{"id": 1, "caption": "x"}], ()),
        "annotations/person_keypoints_train2017.json": simple([1]),
        **pictures("train2017/", [1, 2, 3]),
        **pictures("val2017/", [4]),
    },
    "a wrapping folder": {
        "pets/annotations/instances_train.json": simple([1, 2, 3]),
        "pets/annotations/instances_val.json": simple([4]),
        **pictures("pets/images/", [1, 2, 3, 4]),
    },
    "files beside one folder": {
        "train.json": simple([1, 2, 3]),
        "val.json": simple([4]),
        **pictures("images/", [1, 2, 3, 4]),
    },
    "roboflow": {
        "train/_annotations.coco.json": simple([1, 2, 3]),
        "valid/_annotations.coco.json": simple([4]),
        "README.roboflow.txt": b"exported",
        **pictures("train/", [1, 2, 3]),
        **pictures("valid/", [4]),
    },
    "the same names in each split": {
        "train.json": simple([1, 2, 3]),
        "val.json": simple([1]),
        **pictures("images/train/", [1, 2, 3]),
        **pictures("images/val/", [1]),
    },
    "paths of another machine": {
        "train.json": document(
            [
                image(1, file_name="/home/me/pets/images/1.png"),
                image(2, file_name="C:\\pets\\images\\2.PNG"),
                image(3, file_name="../images/./3.png"),
            ],
            [box(n, n) for n in (1, 2, 3)],
        ),
        "val.json": simple([4]),
        **pictures("data/images/", [1, 2, 3, 4]),
    },
}
