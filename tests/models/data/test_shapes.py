"""The generated data set: always the same, true to its pixels, with crowds and empty images."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from posneg.models.data import shapes
from posneg.models.data.dataset import INDEX, read_index

FEW = {"train": 24, "val": 4}


def scenes(split: str, count: int) -> list[shapes.Scene]:
    return [scene for scene, _ in shapes._scenes(split, count)]


def test_it_is_the_same_on_every_machine(tmp_path: Path) -> None:
    """Pixels and boxes of this release, by their hash; a change of them must raise `VERSION`."""
    dataset = shapes.generate(tmp_path, images=FEW)
    digest = hashlib.sha256((tmp_path / INDEX).read_bytes())
    for sample in dataset.splits["train"]:
        digest.update(np.asarray(Image.open(sample.file)).tobytes())

    assert shapes.VERSION == 1
    assert digest.hexdigest() == "dd7d9dc0305f6b10fdf420d690b2ab97d772f433a22a2541ee7ab7d38c004f77"


def test_the_description_is_what_is_drawn(tmp_path: Path) -> None:
    """`describe`, `generate` and the index on disk agree, and every file has the size that it says."""
    drawn, read = shapes.generate(tmp_path, images=FEW), read_index(tmp_path, name="shapes")

    for dataset in (read, shapes.describe(tmp_path, images=FEW)):
        assert dataset.classes == drawn.classes == shapes.CLASSES
        assert dataset.splits.keys() == drawn.splits.keys()
        for split in FEW:
            for sample, other in zip(dataset.splits[split], drawn.splits[split], strict=True):
                assert (sample.id, sample.file, sample.size) == (other.id, other.file, other.size)
                np.testing.assert_array_equal(sample.boxes, other.boxes)
                np.testing.assert_array_equal(sample.labels, other.labels)
                with Image.open(sample.file) as image:
                    assert image.size == sample.size[::-1]


def test_more_images_do_not_change_the_first_ones() -> None:
    """Each image has a generator of its own."""
    short, long = shapes.describe(Path(), images={"val": 3}), shapes.describe(Path(), images={"val": 6})

    for sample, other in zip(short.splits["val"], long.splits["val"], strict=False):
        np.testing.assert_array_equal(sample.boxes, other.boxes)


def test_boxes_are_the_extents_of_visible_pixels() -> None:
    """Each side of a box touches a pixel of its shape, and none lies outside."""
    for scene in scenes("train", 12):
        for index, (left, top, right, bottom) in enumerate(scene.boxes, 1):
            own = scene.owner == index
            inside = own[top:bottom, left:right]
            assert own.sum() == inside.sum()
            assert inside[0].any()
            assert inside[-1].any()
            assert inside[:, 0].any()
            assert inside[:, -1].any()


def test_drawn_shapes_stand_out_from_the_background() -> None:
    """The pixels of a shape differ from the background's mean by more than grain and slow change do."""
    for scene, generator in shapes._scenes("train", 12):
        pixels = shapes.draw(scene, generator).astype(float)
        background = pixels[scene.owner == 0].mean(axis=0)
        for index in range(1, len(scene.labels) + 1):
            difference = abs(pixels[scene.owner == index].mean(axis=0) - background)
            assert difference.max() > shapes.CONTRAST / 2


def test_every_tenth_image_is_empty_and_every_tenth_crowded() -> None:
    """So that both are trained on and met in tests."""
    dataset = shapes.describe(Path())

    for split, count in shapes.IMAGES.items():
        numbers = [len(sample.labels) for sample in dataset.splits[split]]
        assert len(numbers) == count
        assert all(number == 0 for number in numbers[::10])
        assert all(number >= 10 for number in numbers[1::10])
        assert all(1 <= n <= 7 for i, n in enumerate(numbers) if i % 10 > 1)


def test_classes_are_balanced_and_sizes_spread() -> None:
    """Each class has a fair share; small, medium and large boxes all occur."""
    samples = shapes.describe(Path()).splits["train"]
    counts = np.bincount(np.concatenate([s.labels for s in samples]))
    sides = np.concatenate([(s.boxes[:, 2:] - s.boxes[:, :2]).max(axis=1) for s in samples])

    assert counts.min() > 0.8 * counts.max()
    assert (sides < 16).mean() > 0.1
    assert (sides > 64).mean() > 0.05


@pytest.mark.parametrize(("label", "share"), [(0, np.pi / 4), (1, 1 / 2), (2, np.sqrt(27) / 16)])
@pytest.mark.parametrize("degrees", [0, 17, 45, 90])
def test_shapes_have_the_area_of_their_kind(label: int, share: float, degrees: int) -> None:
    """Of the square around their circle: π/4, a half, √27/16, however they are turned."""
    mask = shapes.shape(label, 95, degrees)

    assert mask.mean() == pytest.approx(share, rel=0.02)
