"""A data set at rest: samples by split, and the folder form that every reader ends in.

The folder holds the image files and `dataset.json`: classes and samples, file names relative to it. It is
what the service keeps and what training opens, so layouts found in the wild are read exactly once.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

SPLITS = ("train", "val", "test")
INDEX = "dataset.json"
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """One image and its boxes, xyxy in pixels. `size` is (height, width) of the image turned upright.

    `crowd` marks regions of many objects: nothing is matched to them and nothing is punished in them.
    """

    id: int | str
    file: Path
    size: tuple[int, int]
    boxes: Float[np.ndarray, "G 4"]
    labels: Int[np.ndarray, "G"]
    crowd: Bool[np.ndarray, "G"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """Classes and samples by split; splits are named `train`, `val`, `test` and are never empty."""

    name: str
    classes: tuple[str, ...]
    splits: Mapping[str, tuple[Sample, ...]]


def write_index(dataset: Dataset, folder: Path) -> None:
    """Write `dataset.json`; every sample's file must lie in `folder`. The same data give the same bytes."""
    index = {
        "format": FORMAT,
        "classes": list(dataset.classes),
        "splits": {
            split: [_entry(sample, folder) for sample in dataset.splits[split]]
            for split in SPLITS
            if dataset.splits.get(split)
        },
    }
    (folder / INDEX).write_text(json.dumps(index, ensure_ascii=False, separators=(",", ":")), "utf-8")


def _entry(sample: Sample, folder: Path) -> dict[str, Any]:
    return {
        "id": sample.id,
        "file": sample.file.relative_to(folder).as_posix(),
        "size": list(sample.size),
        "boxes": sample.boxes.tolist(),
        "labels": sample.labels.tolist(),
        "crowd": sample.crowd.tolist(),
    }


def read_index(folder: Path, *, name: str) -> Dataset:
    """The data set that `write_index` wrote into `folder`."""
    index = json.loads((folder / INDEX).read_text("utf-8"))
    if index["format"] != FORMAT:
        raise ValueError(f"{folder / INDEX} has format {index['format']}; this release reads {FORMAT}")
    splits = {
        split: tuple(_sample(entry, folder) for entry in entries)
        for split, entries in index["splits"].items()
    }
    return Dataset(name=name, classes=tuple(index["classes"]), splits=splits)


def _sample(entry: Mapping[str, Any], folder: Path) -> Sample:
    height, width = entry["size"]
    return Sample(
        id=entry["id"],
        file=folder / entry["file"],
        size=(height, width),
        boxes=np.array(entry["boxes"], np.float64).reshape(-1, 4),
        labels=np.array(entry["labels"], np.int64),
        crowd=np.array(entry["crowd"], bool),
    )
