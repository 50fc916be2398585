"""One box as somebody wrote it: checked, brought into the image's pixels, or refused with a reason."""

import math
from collections.abc import Sequence

from posneg.models.imaging import ImageFacts

Box = tuple[float, float, float, float]
SIDES = ("x", "y", "width", "height")
ASPECT_TOLERANCE = 0.01
OUTSIDE_TOLERANCE_PX = 1.0


class BoxError(ValueError):
    """A box that cannot be used, with a code for the reason."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def read_xywh(value: object) -> Box:
    """An xyxy box from COCO's [x, y, width, height], in the coordinates that it was written in."""
    if value is None:
        raise BoxError("BOX_MISSING", "there is no bbox")
    if not isinstance(value, list) or len(value) != len(SIDES):
        raise BoxError("BOX_LENGTH", f"bbox is {_short(value)}, not [x, y, width, height]")
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in value):
        raise BoxError("BOX_NOT_NUMERIC", f"bbox is {_short(value)}, not four numbers")
    if not all(_is_finite(v) for v in value):
        raise BoxError("BOX_NOT_FINITE", f"bbox is {_short(value)}, which is not finite")
    x, y, width, height = (float(v) for v in value)
    if width < 0 or height < 0:
        raise BoxError("BOX_NEGATIVE_SIZE", f"bbox is {_short(value)}, with a negative width or height")
    if x + width <= x or y + height <= y:
        raise BoxError("BOX_EMPTY", f"bbox is {_short(value)}, without an area")
    return x, y, x + width, y + height


def clip(box: Box, size: tuple[int, int]) -> Box:
    """The part of a box within an image of (height, width); raises where there is none."""
    height, width = size
    clipped = (max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(width)), min(box[3], float(height)))
    if clipped[0] >= clipped[2] or clipped[1] >= clipped[3]:
        raise BoxError(
            "BOX_OUTSIDE", f"{_short(list(box))} (xyxy) lies outside the image of {width} x {height}"
        )
    return clipped


def frame(recorded: tuple[int, int] | None, facts: ImageFacts, boxes: Sequence[Box]) -> str:
    """In which coordinates an image's boxes were written, if its record gives another size than its file.

    `same`: in the file's pixels. `turned`: in those of the file as stored, before its EXIF orientation was
    applied. `scaled`: in those of the image at its recorded size, which has the same aspect and holds all
    boxes. `unknown`: the sizes do not fit together; the boxes are taken as they are.
    """
    if recorded is None or recorded == facts.size:
        return "same"
    if recorded == facts.stored_size:
        return "turned"
    height, width = recorded
    across, down = width * facts.size[0], height * facts.size[1]
    fits = all(b[2] <= width + OUTSIDE_TOLERANCE_PX and b[3] <= height + OUTSIDE_TOLERANCE_PX for b in boxes)
    same_aspect = abs(across - down) <= ASPECT_TOLERANCE * max(across, down)
    return "scaled" if same_aspect and fits else "unknown"


def scale(box: Box, recorded: tuple[int, int], size: tuple[int, int]) -> Box:
    """A box of an image of size `recorded` in the same image at `size`, both (height, width)."""
    down, across = size[0] / recorded[0], size[1] / recorded[1]
    return box[0] * across, box[1] * down, box[2] * across, box[3] * down


def turn(box: Box, facts: ImageFacts) -> Box:
    """A box of the image as stored in the image upright; EXIF orientations 5 to 8, which swap the axes."""
    left, top, right, bottom = box[1], box[0], box[3], box[2]  # transposed
    height, width = facts.size
    if facts.orientation in (6, 7):
        left, right = width - right, width - left
    if facts.orientation in (7, 8):
        top, bottom = height - bottom, height - top
    return left, top, right, bottom


def _is_finite(value: int | float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond any float
        return False


def _short(value: object) -> str:
    text = str(value) if not isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
