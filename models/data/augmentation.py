"""Random views of labelled images: NumPy and Pillow, every draw from the generator that is handed in.

A view is a canvas of the network's input size onto which parts of one image, or of four, are scaled. All of
it is a function of (images, generator), so that a sample does not depend on who computes it, or when.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image

from posneg.models.imaging import FILL
from posneg.models.registry import InvalidOptions, OptionError, check, fitted

Pixels = UInt8[np.ndarray, "H W 3"]

MINIMUM_SIDE_PX = 2.0  # what is left of a box after cropping must be as large as this on both sides
MINIMUM_VISIBLE = 0.2  # and this much of its area
MOSAIC_CENTER = (0.3, 0.7)  # where the four images of a mosaic meet, as a fraction of each side
LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Labelled:
    """An image and its boxes, xyxy in its pixels; `crowd` marks regions that nothing is matched to."""

    image: Pixels
    boxes: Float[np.ndarray, "G 4"]
    labels: Int[np.ndarray, "G"]
    crowd: Bool[np.ndarray, "G"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How much views differ. Probabilities are 0..1; everything at 0 (scales at 1) gives the plain letterbox.

    `scale` bounds the zoom of a single image and `mosaic_scale` that of a mosaic's parts, both relative to
    the letterboxed size; `aspect` is the largest stretch of width against height, 0.1 for 10 %. `brightness`,
    `contrast` and `saturation` are the largest relative changes, `hue` the largest turn in degrees.
    """

    flip_horizontal: Annotated[float, Ge(0), Le(1)] = 0.5
    flip_vertical: Annotated[float, Ge(0), Le(1)] = 0.0
    mosaic: Annotated[float, Ge(0), Le(1)] = 0.5
    scale: tuple[Annotated[float, Ge(0.1), Le(4)], Annotated[float, Ge(0.1), Le(4)]] = (0.75, 1.3)
    mosaic_scale: tuple[Annotated[float, Ge(0.1), Le(4)], Annotated[float, Ge(0.1), Le(4)]] = (0.6, 1.2)
    aspect: Annotated[float, Ge(0), Le(1)] = 0.1
    brightness: Annotated[float, Ge(0), Le(0.9)] = 0.3
    contrast: Annotated[float, Ge(0), Le(0.9)] = 0.3
    saturation: Annotated[float, Ge(0), Le(1)] = 0.5
    hue: Annotated[float, Ge(0), Le(180)] = 6.0

    def __post_init__(self) -> None:
        """Refuse what is out of bounds, all of it at once."""
        if problems := self.problems(asdict(self)):
            raise InvalidOptions(problems)

    @classmethod
    def problems(cls, options: Mapping[str, Any]) -> list[OptionError]:
        """What is wrong with some options."""
        problems = list(check(cls, options))
        sound = options.keys() - {problem.path[0] for problem in problems}
        for name in sorted(sound & {"scale", "mosaic_scale"}):
            if options[name][0] > options[name][1]:
                detail = f"{options[name]} is upside down; give the smaller one first"
                problems.append(OptionError(detail, (name,)))
        return problems

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "Augmentation":
        """The defaults with some changes, as JSON has them."""
        if problems := cls.problems(options):
            raise InvalidOptions(problems)
        return cls(**fitted(cls, options))

    @classmethod
    def none(cls) -> "Augmentation":
        """Every image as it is, letterboxed."""
        return cls(
            flip_horizontal=0.0,
            mosaic=0.0,
            scale=(1.0, 1.0),
            aspect=0.0,
            brightness=0.0,
            contrast=0.0,
            saturation=0.0,
            hue=0.0,
        )


def single(
    example: Labelled, size: tuple[int, int], options: Augmentation, generator: np.random.Generator
) -> Labelled:
    """One image, scaled to fit `size` (height, width), zoomed and moved; then flipped and coloured."""
    canvas = _Canvas(size)
    scale = _scale(options.scale, options.aspect, generator)
    where = (0.5, 0.5) if options.scale == (1.0, 1.0) else tuple(generator.random(2))
    top, left = (
        math.floor((room - side * s) * at)
        for room, side, s, at in zip(size, example.image.shape[:2], scale, where, strict=True)
    )
    canvas.paste(example, scale, (top, left), (0, 0, *size))
    return _finished(canvas.labelled(), options, generator)


def mosaic(
    examples: Sequence[Labelled],
    size: tuple[int, int],
    options: Augmentation,
    generator: np.random.Generator,
) -> Labelled:
    """Four images around a random point, each zoomed and cropped at random; then flipped and coloured.

    Bochkovskiy et al., YOLOv4, arXiv:2004.10934, section 3.3. Unlike there each image fills its quarter by a
    random crop of its own, so that little of the canvas is left grey.
    """
    canvas = _Canvas(size)
    middle_y, middle_x = (round(side * generator.uniform(*MOSAIC_CENTER)) for side in size)
    height, width = size
    quarters = [
        (0, 0, middle_y, middle_x),
        (0, middle_x, middle_y, width),
        (middle_y, 0, height, middle_x),
        (middle_y, middle_x, height, width),
    ]
    for example, quarter in zip(examples, quarters, strict=True):
        scale = _scale(options.mosaic_scale, options.aspect, generator)
        corner = []
        for axis in range(2):
            room = quarter[axis + 2] - quarter[axis]
            slack = room - example.image.shape[axis] * scale[axis]
            corner.append(quarter[axis] + math.floor(slack * generator.random()))
        canvas.paste(example, scale, (corner[0], corner[1]), quarter)
    return _finished(canvas.labelled(), options, generator)


class _Canvas:
    """An input-sized image under construction, with the boxes that came along."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.pixels = np.full((*size, 3), FILL, np.uint8)
        self.parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def paste(
        self,
        example: Labelled,
        scale: tuple[float, float],
        corner: tuple[int, int],
        region: tuple[int, int, int, int],
    ) -> None:
        """Put the image, scaled by (y, x), with its upper left at (y, x) `corner`; show it in `region` alone.

        The region is top, left, bottom, right. Boxes are clipped to what is shown.
        """
        height, width = example.image.shape[:2]
        top, left = max(region[0], corner[0]), max(region[1], corner[1])
        bottom = min(region[2], corner[0] + max(round(height * scale[0]), 1))
        right = min(region[3], corner[1] + max(round(width * scale[1]), 1))
        if bottom <= top or right <= left:
            return
        source = (
            min((left - corner[1]) / scale[1], width),
            min((top - corner[0]) / scale[0], height),
            min((right - corner[1]) / scale[1], width),
            min((bottom - corner[0]) / scale[0], height),
        )
        image = example.image
        if source == (0, 0, width, height) and (bottom - top, right - left) == (height, width):
            self.pixels[top:bottom, left:right] = image
        else:
            self.pixels[top:bottom, left:right] = np.asarray(
                Image.fromarray(image).resize((right - left, bottom - top), Image.Resampling.BILINEAR, source)
            )
        moved = example.boxes * np.tile(scale[::-1], 2) + np.tile(corner[::-1], 2)
        shown = moved.clip(np.tile((left, top), 2), np.tile((right, bottom), 2))
        keep = _visible(moved, shown)
        self.parts.append((shown[keep], example.labels[keep], example.crowd[keep]))

    def labelled(self) -> Labelled:
        """What was put together."""
        boxes = [np.empty((0, 4)), *(part[0] for part in self.parts)]
        labels = [np.empty(0, np.int64), *(part[1] for part in self.parts)]
        crowd = [np.empty(0, bool), *(part[2] for part in self.parts)]
        return Labelled(
            image=self.pixels,
            boxes=np.concatenate(boxes),
            labels=np.concatenate(labels),
            crowd=np.concatenate(crowd),
        )


def _visible(whole: Float[np.ndarray, "G 4"], shown: Float[np.ndarray, "G 4"]) -> Bool[np.ndarray, "G"]:
    """Which boxes are still worth finding; an uncropped one always is, however small."""
    sides, left = whole[:, 2:] - whole[:, :2], shown[:, 2:] - shown[:, :2]
    cropped = (left < sides - 1e-6).any(axis=1)
    large = (left >= MINIMUM_SIDE_PX).all(axis=1) & (
        left.prod(axis=1) >= MINIMUM_VISIBLE * sides.prod(axis=1)
    )
    visible: Bool[np.ndarray, G] = large | ~cropped
    return visible


def _scale(bounds: tuple[float, float], aspect: float, generator: np.random.Generator) -> tuple[float, float]:
    """Scales (y, x): the zoom uniform in its logarithm, the stretch split between both axes."""
    zoom = math.exp(generator.uniform(math.log(bounds[0]), math.log(bounds[1])))
    stretch = math.exp(generator.uniform(-1, 1) * math.log1p(aspect) / 2)
    return zoom / stretch, zoom * stretch


def _finished(view: Labelled, options: Augmentation, generator: np.random.Generator) -> Labelled:
    horizontal, vertical = generator.random(2) < (options.flip_horizontal, options.flip_vertical)
    image, boxes = view.image, view.boxes
    height, width = image.shape[:2]
    if horizontal:
        image, boxes = (
            image[:, ::-1],
            np.array([width, 0, width, 0]) + boxes[:, [2, 1, 0, 3]] * [-1, 1, -1, 1],
        )
    if vertical:
        image, boxes = image[::-1], np.array([0, height, 0, height]) + boxes[:, [0, 3, 2, 1]] * [1, -1, 1, -1]
    if max(options.brightness, options.contrast, options.saturation, options.hue) > 0:
        image = _coloured(image, options, generator)
    return Labelled(image=image, boxes=boxes, labels=view.labels, crowd=view.crowd)


def _coloured(image: Pixels, options: Augmentation, generator: np.random.Generator) -> Pixels:
    """Brightness, contrast, saturation and hue changed at once, as one affine map of RGB."""
    ranges = np.array((options.brightness, options.contrast, options.saturation, options.hue))
    draws = generator.uniform(-1, 1, 4) * ranges
    (brightness, contrast, saturation), hue = 1 + draws[:3], math.radians(draws[3])
    grey = np.tile(LUMA, (3, 1))  # RGB to its grey value; what differs from it is the colour
    matrix = brightness * contrast * (grey + saturation * _hue_turn(hue) @ (np.eye(3) - grey))
    offset = np.full((3, 1), 127.5 * brightness * (1 - contrast))
    values = np.concatenate([matrix, offset], 1).ravel().tolist()
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).convert("RGB", values))


def _hue_turn(radians: float) -> Float[np.ndarray, "3 3"]:
    """Rotation of RGB about the grey axis."""
    cosine, sine = math.cos(radians), math.sin(radians) / math.sqrt(3)
    third = (1 - cosine) / 3
    return np.array(
        [
            [cosine + third, third - sine, third + sine],
            [third + sine, cosine + third, third - sine],
            [third - sine, third + sine, cosine + third],
        ]
    )
