"""Circles, squares and triangles on noise: a data set that is drawn, not downloaded, and always the same.

Whole numbers alone decide every pixel, so that every machine draws the same images. Boxes are the extents of
what is left to see of each shape after others were drawn over it. Every tenth image is empty, every tenth is
crowded.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import cos, radians, sin
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from posneg.models.data.dataset import Dataset, Sample, write_index

NAME = "shapes"
VERSION = 1  # rises with any change of the pixels or boxes
CLASSES = ("circle", "square", "triangle")
IMAGES = {"train": 320, "val": 80, "test": 80}
SIDES_PX = (160, 176, 192, 208, 224, 240, 256)
DIAMETERS_PX = (12, 15, 19, 24, 30, 38, 48, 60, 75, 95)
CROWD_DIAMETERS = 5  # in a crowd only so many of the smallest
MIN_VISIBLE_PERCENT = 50  # of every shape, after all others are drawn
TRIES = 10  # to find a place for a shape; then it is left out
COARSE_PX = 32  # the background's slow change of colour
CONTRAST = 70  # least difference of a shape's colour to the background, on one channel
GRAIN = 12
UNIT = 1024  # cosines are whole multiples of 1 / UNIT
CORNERS = (0, 4, 3)
APOTHEMS = (0, 724, 512)  # distance of the sides from the centre, in radii / UNIT: the cosines of 45° and 60°


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """Who covers which pixel of an image: `owner` is 0 for the background, else 1 + the shape's index."""

    owner: Int[np.ndarray, "H W"]
    labels: tuple[int, ...]

    @property
    def boxes(self) -> list[list[int]]:
        """Extents of the visible pixels, xyxy, whole numbers."""
        boxes = []
        for index in range(1, len(self.labels) + 1):
            visible = self.owner == index
            rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
            boxes.append([int(v) for v in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)])
        return boxes


def generate(folder: Path, *, images: Mapping[str, int] = IMAGES) -> Dataset:
    """Draw the data set into the new `folder`, with its index."""
    dataset = describe(folder, images=images)
    for split, samples in dataset.splits.items():
        (folder / split).mkdir(parents=True)
        for sample, (scene, generator) in zip(samples, _scenes(split, images[split]), strict=True):
            Image.fromarray(draw(scene, generator)).save(sample.file, compress_level=1)
    write_index(dataset, folder)
    return dataset


def describe(folder: Path, *, images: Mapping[str, int] = IMAGES) -> Dataset:
    """The data set as `generate` makes it in `folder`, without drawing: files that are not there yet."""
    splits = {
        split: tuple(
            _sample(folder / split / f"{index:04}.png", scene)
            for index, (scene, _) in enumerate(_scenes(split, count))
        )
        for split, count in images.items()
    }
    return Dataset(name=NAME, classes=CLASSES, splits=splits)


def _scenes(split: str, count: int) -> Iterator[tuple[Scene, np.random.Generator]]:
    """Each image's scene with the generator that goes on to draw it."""
    for index in range(count):
        generator = np.random.default_rng([VERSION, *split.encode(), index])
        yield lay_out(generator, kind=index % 10), generator


def _sample(file: Path, scene: Scene) -> Sample:
    height, width = scene.owner.shape
    return Sample(
        id=f"{file.parent.name}/{file.name}",
        file=file,
        size=(height, width),
        boxes=np.array(scene.boxes, np.float64).reshape(-1, 4),
        labels=np.array(scene.labels, np.int64),
        crowd=np.zeros(len(scene.labels), bool),
    )


def lay_out(generator: np.random.Generator, *, kind: int) -> Scene:
    """Place shapes one over the other: none for `kind` 0, a crowd for 1, a few otherwise."""
    height, width = (int(v) for v in generator.choice(SIDES_PX, 2))
    owner = np.zeros((height, width), np.int64)
    wanted = (
        0 if kind == 0 else int(generator.integers(16, 33)) if kind == 1 else int(generator.integers(1, 8))
    )
    diameters = DIAMETERS_PX[:CROWD_DIAMETERS] if kind == 1 else DIAMETERS_PX
    labels: list[int] = []
    whole = [height * width]  # pixels of each shape before it was covered, the background first
    for _ in range(wanted):
        label, diameter = int(generator.integers(len(CLASSES))), int(generator.choice(diameters))
        mask = shape(label, diameter, int(generator.integers(360)))
        if _place(owner, mask, whole, generator):
            labels.append(label)
    return Scene(owner=owner, labels=tuple(labels))


def shape(label: int, diameter: int, degrees: int) -> UInt8[np.ndarray, "D D"]:
    """Pixels of a circle, or of a square or triangle within that circle, turned; 1 inside, 0 outside."""
    y, x = np.mgrid[:diameter, :diameter] * 2 + 1 - diameter  # of pixel centres, in half pixels
    inside = x**2 + y**2 <= diameter**2
    for corner in range(CORNERS[label]):
        angle = radians(degrees + corner * 360 / CORNERS[label])
        across = x * round(UNIT * cos(angle)) + y * round(UNIT * sin(angle))
        inside &= across <= diameter * APOTHEMS[label]
    return np.asarray(inside, np.uint8)


def _place(
    owner: Int[np.ndarray, "H W"],
    mask: UInt8[np.ndarray, "D D"],
    whole: list[int],
    generator: np.random.Generator,
) -> bool:
    """Put the shape where none, itself included, is hidden by more than half; False if there is no place."""
    height, width = owner.shape
    diameter = len(mask)
    for _ in range(TRIES):
        top = int(generator.integers(-diameter // 4, height - diameter * 3 // 4))
        left = int(generator.integers(-diameter // 4, width - diameter * 3 // 4))
        window = owner[max(top, 0) : top + diameter, max(left, 0) : left + diameter]
        cut = mask[max(-top, 0) :, max(-left, 0) :][: window.shape[0], : window.shape[1]].astype(bool)
        left_over = np.bincount(owner.ravel(), minlength=len(whole))
        left_over -= np.bincount(window[cut], minlength=len(whole))
        visible = np.append(left_over, cut.sum())[1:] * 100
        if (visible >= np.array([*whole, mask.sum()])[1:] * MIN_VISIBLE_PERCENT).all():
            window[cut] = len(whole)
            whole.append(int(mask.sum()))
            return True
    return False


def draw(scene: Scene, generator: np.random.Generator) -> UInt8[np.ndarray, "H W 3"]:
    """Colours for a scene: a background that changes slowly, shapes that stand out, grain over all."""
    height, width = scene.owner.shape
    base = generator.integers(50, 206, 3, np.int16)
    background = base + _slow_noise(height, width, generator)
    direction = np.where(base < 128, np.int16(1), np.int16(-1))
    distance = generator.integers(CONTRAST, 128, (len(scene.labels), 1), np.int16) * direction
    share = generator.integers(0, 101, (len(scene.labels), 3), np.int16)
    # One channel stands out for sure.
    share[np.arange(len(share)), generator.integers(0, 3, len(share))] = 100
    colours = base + distance * share // 100
    shapes = colours[np.maximum(scene.owner - 1, 0)] if len(colours) else background
    pixels = np.where(scene.owner[..., None] > 0, shapes, background)
    grainy: Int[np.ndarray, "H W 3"] = pixels + generator.integers(-GRAIN, GRAIN + 1, pixels.shape, np.int8)
    return grainy.clip(0, 255).astype(np.uint8)


def _slow_noise(height: int, width: int, generator: np.random.Generator) -> Int[np.ndarray, "H W 3"]:
    """Whole numbers in ±24 that change linearly between the points of a coarse grid."""
    rows, columns = height // COARSE_PX + 2, width // COARSE_PX + 2
    grid = generator.integers(-24, 25, (rows, columns, 3), np.int16)  # times COARSE_PX squared fits
    row, down = np.divmod(np.arange(height, dtype=np.int16), np.int16(COARSE_PX))
    column, right = np.divmod(np.arange(width, dtype=np.int16), np.int16(COARSE_PX))
    down, right = down[:, None, None], right[:, None]
    lines = grid[row] * (COARSE_PX - down) + grid[row + 1] * down
    noise = lines[:, column] * (COARSE_PX - right) + lines[:, column + 1] * right
    return np.asarray(noise // COARSE_PX**2)
