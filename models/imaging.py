"""Pixels in: any JPEG, PNG or WebP as RGB, the letterbox and its inverse. Training and serving share it."""

import struct
import zlib
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

Pixels = UInt8[np.ndarray, "_ _ 3"]
Boxes = Float[np.ndarray, "D 4"]

FILL = 114  # grey of the letterbox's border, on all three channels
HEADER_BYTES = 12  # enough to tell the formats apart
ORIENTATION_TAG = 0x0112
# What Pillow raises for files that are cut off or not what they claim to be.
UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    EOFError,
    OverflowError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


class ImageError(ValueError):
    """Bytes that are no image to work with; the message says what to do."""


class ImageTooLarge(ImageError):
    """An image of more pixels than the limit."""


def decode(data: bytes, *, max_pixels: int) -> Pixels:
    """A JPEG, PNG or WebP as RGB [H, W, 3], turned upright as its EXIF orientation says.

    Grey values and palettes become RGB, an alpha channel is left out, 16 bits keep their upper eight (all as
    OpenCV reads a colour image), CMYK is converted without a profile. An animation gives its first frame.
    """
    image = open_image(BytesIO(data), max_pixels=max_pixels)
    try:
        image.load()
        pixels = _rgb(image)
    except UNREADABLE as error:
        raise ImageError(f"the image is damaged or cut off ({error}); send the whole file") from error
    return np.ascontiguousarray(_upright(pixels, orientation(image)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """An image file's (height, width), upright and as stored, and the EXIF orientation between these."""

    size: tuple[int, int]
    stored_size: tuple[int, int]
    orientation: int


def inspect(file: Path, *, max_pixels: int) -> ImageFacts:
    """Make sure that `decode` will read a file, at less cost: JPEGs at an eighth of their size."""
    with file.open("rb") as stream:
        image = open_image(stream, max_pixels=max_pixels)
        width, height = image.size
        try:
            image.draft(None, (1, 1))
            image.load()
        except UNREADABLE as error:
            raise ImageError(f"the image is damaged or cut off ({error}); send the whole file") from error
    turn = orientation(image)
    size = (width, height) if turn >= 5 else (height, width)
    return ImageFacts(size=size, stored_size=(height, width), orientation=turn)


def open_image(file: BytesIO | BufferedReader, *, max_pixels: int) -> ImageFile.ImageFile:
    """The image's header, pixels not yet read: format, mode and size (before any turn).

    Format classes are called directly: `Image.open` warns of large images by a limit of the whole process.
    """
    header = file.read(HEADER_BYTES)
    file.seek(0)
    try:
        image = _format(header)(file)
    except Image.DecompressionBombError as error:
        raise ImageTooLarge(f"the image is larger than {max_pixels:,} pixels; send a smaller one") from error
    except UNREADABLE as error:
        raise ImageError(f"the image's header cannot be read ({error}); send the whole file") from error
    width, height = image.size
    if width * height > max_pixels:
        raise ImageTooLarge(
            f"the image has {width} x {height} = {width * height:,} pixels, more than the limit of "
            f"{max_pixels:,}; send a smaller one"
        )
    return image


def _format(header: bytes) -> type[ImageFile.ImageFile]:
    if header.startswith(b"\xff\xd8\xff"):
        return JpegImageFile
    if header.startswith(b"\x89PNG\r\n\x1a\n"):
        return PngImageFile
    if header.startswith(b"RIFF") and header[8:12] == b"WEBP":
        return WebPImageFile
    if not header:
        raise ImageError("the image is empty: 0 bytes; send a JPEG, PNG or WebP file")
    raise ImageError(f"not a JPEG, PNG or WebP file (it starts with {header!r}); convert it to one of these")


def _rgb(image: Image.Image) -> Pixels:
    image.info.pop("transparency", None)  # alpha is left out; Pillow would warn where it lies in a palette
    if image.mode.startswith("I"):
        high = (np.asarray(image) >> 8).clip(0, 255).astype(np.uint8)
        return np.repeat(high[..., None], 3, axis=2)
    return np.array(image.convert("RGB"))


def orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 (upright) where there is none or it cannot be read, as browsers do."""
    exif = image.info.get("exif", b"")
    try:
        return _exif_orientation(exif.removeprefix(b"Exif\0\0"))
    except (AttributeError, struct.error):
        return 1


def _exif_orientation(exif: bytes) -> int:
    """Pillow's own reader warns of every other oddity in the block; only one entry matters here."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 1
    (start,) = struct.unpack_from(f"{order}I", exif, 4)
    (entries,) = struct.unpack_from(f"{order}H", exif, start)
    for entry in range(entries):
        tag, _, _, value = struct.unpack_from(f"{order}HHIH", exif, start + 2 + 12 * entry)
        if tag == ORIENTATION_TAG:
            return int(value) if 1 <= value <= 8 else 1
    return 1


def _upright(pixels: Pixels, turn: int) -> Pixels:
    """Undo an EXIF orientation: 2 to 4 keep the axes, 5 to 8 swap them."""
    if turn >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if turn in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if turn in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where an image lies in the network's input: scaled by `scale`, moved by `left` and `top` input pixels.

    `size` is the image's own (height, width).
    """

    scale: float
    left: int
    top: int
    size: tuple[int, int]

    def to_input(self, boxes: Boxes) -> Boxes:
        """Boxes, xyxy in pixels of the image, in pixels of the input."""
        moved: Boxes = boxes * self.scale + np.tile((self.left, self.top), 2)
        return moved

    def to_image(self, boxes: Boxes) -> Boxes:
        """Boxes, xyxy in pixels of the input, in pixels of the image and clipped to it."""
        height, width = self.size
        moved: Boxes = (boxes - np.tile((self.left, self.top), 2)) / self.scale
        return moved.clip(0, np.tile((width, height), 2))


def letterbox(image: Pixels, input_size: tuple[int, int]) -> tuple[Pixels, Placement]:
    """The image scaled to fit `input_size` (height, width), centred, grey around it.

    scale = min(h / H, w / W); the new sides are rounded, at least 1; Pillow's bilinear filter (which averages
    when it shrinks); the border left and above is the smaller half.
    """
    height, width = image.shape[:2]
    scale = min(input_size[0] / height, input_size[1] / width)
    new_height, new_width = max(round(height * scale), 1), max(round(width * scale), 1)
    top, left = (input_size[0] - new_height) // 2, (input_size[1] - new_width) // 2
    if (new_height, new_width) != (height, width):
        resized = Image.fromarray(image).resize((new_width, new_height), Image.Resampling.BILINEAR)
        image_in_input = np.asarray(resized)
    else:
        image_in_input = image
    boxed = np.full((*input_size, 3), FILL, np.uint8)
    boxed[top : top + new_height, left : left + new_width] = image_in_input
    return boxed, Placement(scale=scale, left=left, top=top, size=(height, width))
