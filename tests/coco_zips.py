"""Small COCO data sets for tests: as folders and as zips, whole or broken."""

import io
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

CATEGORIES = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]


def picture(
    width: int = 40, height: int = 30, *, file_format: str = "PNG", seed: int = 0, **options: Any
) -> bytes:
    """An image file of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, file_format, **options)
    return buffer.getvalue()


def image(number: int, **changes: Any) -> dict[str, Any]:
    """An image record."""
    return {"id": number, "file_name": f"{number}.png", "width": 40, "height": 30, **changes}


def box(number: int, image_id: Any, bbox: Any = (5, 6, 10, 12), **changes: Any) -> dict[str, Any]:
    """An annotation of a cat; a change to `...` leaves the member out."""
    bbox = list(bbox) if isinstance(bbox, tuple) else bbox
    entry = {"id": number, "image_id": image_id, "category_id": 1, "bbox": bbox, "iscrowd": 0, **changes}
    return {key: value for key, value in entry.items() if value is not ...}


def document(
    images: Sequence[Any], annotations: Sequence[Any] = (), categories: Sequence[Any] = tuple(CATEGORIES)
) -> bytes:
    """An annotation file."""
    content = {"images": [*images], "annotations": [*annotations], "categories": [*categories]}
    return json.dumps(content).encode()


def simple(numbers: Sequence[int]) -> bytes:
    """A document of some images with one box each."""
    return document([image(n) for n in numbers], [box(n, n) for n in numbers])


def pictures(folder: str, numbers: Sequence[int]) -> dict[str, bytes]:
    """Their files in `folder`."""
    return {f"{folder}{n}.png": picture(seed=n) for n in numbers}


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    """The files in a folder."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def zipped(files: Mapping[str, bytes]) -> bytes:
    """The files as a zip."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def shared(name: str) -> Path:
    """A folder of the larger test inputs; skips where these are not at hand."""
    root = os.environ.get("POSNEG_TEST_DATA")
    if not root:
        pytest.skip("POSNEG_TEST_DATA is not set: the larger test inputs are not at hand")
    folder = Path(root) / "data" / name
    if not folder.is_dir():
        pytest.skip(f"POSNEG_TEST_DATA has no data/{name}")
    return folder
