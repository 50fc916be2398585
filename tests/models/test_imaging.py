"""Decoding of whatever people send, and the letterbox."""

import io
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from posneg.models.imaging import FILL, ImageError, ImageTooLarge, decode, inspect, letterbox

PICTURE = np.random.default_rng(0).integers(0, 256, (24, 36, 3), np.uint8)
LIMIT = 1_000_000


def encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG written by hand, for what Pillow does not write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("file_format", ["PNG", "WEBP"])
def test_lossless_formats_give_their_pixels(file_format: str) -> None:
    """What was saved comes back, writable and contiguous."""
    pixels = decode(encoded(Image.fromarray(PICTURE), file_format, lossless=True), max_pixels=LIMIT)

    np.testing.assert_array_equal(pixels, PICTURE)
    assert pixels.flags.writeable
    assert pixels.flags.c_contiguous


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    """Whatever Pillow can save as PNG or JPEG is read as its own RGB view."""
    image = Image.fromarray(PICTURE).convert(mode)
    file_format = "JPEG" if mode in ("CMYK", "YCbCr") else "PNG"
    data = encoded(image, file_format)

    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

    np.testing.assert_array_equal(decode(data, max_pixels=LIMIT), expected)


def test_alpha_is_left_out() -> None:
    """The colour under a transparent pixel is kept, as OpenCV's colour reading does."""
    alpha = np.zeros((24, 36, 1), np.uint8)
    image = Image.fromarray(np.concatenate([PICTURE, alpha], axis=2), "RGBA")

    np.testing.assert_array_equal(decode(encoded(image, "PNG"), max_pixels=LIMIT), PICTURE)


def test_a_palette_with_transparency_is_read_without_a_warning() -> None:
    """Pillow warns of transparency given as bytes; the colours are what counts."""
    image = Image.fromarray(PICTURE).quantize(16)
    data = encoded(image, "PNG", transparency=bytes(range(16)))

    np.testing.assert_array_equal(decode(data, max_pixels=LIMIT), np.asarray(image.convert("RGB")))


def test_sixteen_bit_grey_keeps_its_upper_byte() -> None:
    """0x1234 is read as 0x12 on all channels."""
    values = np.array([[0x1234, 0xFFFF, 0x00FF]], np.uint16)
    data = encoded(Image.fromarray(values), "PNG")

    assert decode(data, max_pixels=LIMIT).tolist() == [[[0x12] * 3, [0xFF] * 3, [0x00] * 3]]


def test_sixteen_bit_colour_keeps_its_upper_byte() -> None:
    """Three 16-bit channels as well."""
    data = png(1, 1, 16, 2, b"\0" + struct.pack(">HHH", 0x1234, 0xABCD, 0x00FF))

    assert decode(data, max_pixels=LIMIT).tolist() == [[[0x12, 0xAB, 0x00]]]


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "JPEG"])
def test_orientation_is_applied_as_pillow_does(file_format: str, turn: int) -> None:
    """All eight EXIF orientations, in each format."""
    exif = Image.Exif()
    exif[0x010F] = "maker"
    exif[0x0112] = turn
    options = {"quality": 95} if file_format == "JPEG" else {"lossless": True}
    data = encoded(Image.fromarray(PICTURE), file_format, exif=exif, **options)

    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")

    np.testing.assert_array_equal(decode(data, max_pixels=LIMIT), np.asarray(expected))


@given(exif=st.binary(max_size=60))
def test_any_exif_block_is_harmless(exif: bytes) -> None:
    """A block that cannot be read means upright."""
    data = encoded(Image.fromarray(PICTURE), "PNG", exif=b"Exif\0\0II*\0" + exif)

    assert decode(data, max_pixels=LIMIT).size == PICTURE.size


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "JPEG"])
@pytest.mark.parametrize("part", [0.0, 0.02, 0.3, 0.9])
def test_a_file_cut_off_is_an_image_error(file_format: str, part: float) -> None:
    """Wherever it ends too early."""
    data = encoded(Image.fromarray(PICTURE), file_format)

    with pytest.raises(ImageError, match="send"):
        decode(data[: int(len(data) * part)], max_pixels=LIMIT)


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "JPEG"])
def test_damage_gives_pixels_or_an_image_error(file_format: str) -> None:
    """Random bytes changed: no other exception ever."""
    data = encoded(Image.fromarray(PICTURE), file_format)
    generator = random.Random(0)
    for _ in range(300):
        damaged = bytearray(data)
        for _ in range(generator.randint(1, 6)):
            damaged[generator.randrange(12, len(damaged))] = generator.randrange(256)
        try:
            assert decode(bytes(damaged), max_pixels=LIMIT).ndim == 3
        except ImageError:
            continue


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"hello, this is text", b"\xff\xd8\xff"])
def test_what_is_no_image_says_so(data: bytes) -> None:
    """Nothing, another format, text, a bare marker."""
    with pytest.raises(ImageError):
        decode(data, max_pixels=LIMIT)


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "JPEG"])
def test_more_pixels_than_the_limit_are_refused(file_format: str) -> None:
    """The limit is inclusive, and the message names it."""
    data = encoded(Image.fromarray(PICTURE), file_format)

    assert decode(data, max_pixels=24 * 36).shape == (24, 36, 3)
    with pytest.raises(ImageTooLarge, match="863"):
        decode(data, max_pixels=24 * 36 - 1)


def test_a_decompression_bomb_is_refused_by_its_header() -> None:
    """A PNG of 40 gigapixels in a few bytes, a WebP of 268 megapixels: no memory taken, no warning."""
    webp = bytearray(encoded(Image.new("RGBA", (9, 9)), "WEBP", lossless=True, exif=b"II*\0"))
    assert webp[12:16] == b"VP8X"
    webp[24:30] = b"\xff\x3f\x00\xff\x3f\x00"

    for data in (png(200_000, 200_000, 8, 2, b"\0"), bytes(webp)):
        with pytest.raises(ImageTooLarge, match="smaller"):
            decode(data, max_pixels=100_000_000)


side = st.integers(1, 400)


@given(height=side, width=side, input_height=side, input_width=side)
def test_letterbox_fits_and_is_centred(height: int, width: int, input_height: int, input_width: int) -> None:
    """The image fills one axis, the border is grey and halved, the smaller half first."""
    image = np.zeros((height, width, 3), np.uint8)

    boxed, placement = letterbox(image, (input_height, input_width))

    assert boxed.shape == (input_height, input_width, 3)
    rows, columns = (boxed[..., 0] != FILL).any(axis=1), (boxed[..., 0] != FILL).any(axis=0)
    filled = int(rows.sum()), int(columns.sum())
    assert filled[0] == max(round(height * placement.scale), 1)
    assert filled[1] == max(round(width * placement.scale), 1)
    assert filled[0] == input_height or filled[1] == input_width
    assert int(rows.argmax()) == placement.top == (input_height - filled[0]) // 2
    assert int(columns.argmax()) == placement.left == (input_width - filled[1]) // 2


fraction = st.floats(0, 1)


@given(height=side, width=side, input_height=side, input_width=side, corners=st.lists(fraction, min_size=4))
def test_placement_there_and_back_is_the_identity(
    height: int, width: int, input_height: int, input_width: int, corners: list[float]
) -> None:
    """For every box within the image."""
    corners = corners[: len(corners) // 4 * 4]
    boxes = np.array(corners).reshape(-1, 2, 2)
    boxes = np.sort(boxes, axis=1).reshape(-1, 4) * [width, height, width, height]
    _, placement = letterbox(np.zeros((height, width, 3), np.uint8), (input_height, input_width))

    back = placement.to_image(placement.to_input(boxes))

    np.testing.assert_allclose(back, boxes, atol=1e-6 * max(height, width))


def test_boxes_outside_are_clipped_to_the_image() -> None:
    """A box in the border ends up at the image's edge."""
    _, placement = letterbox(np.zeros((50, 100, 3), np.uint8), (100, 100))

    assert placement.to_image(np.array([[-5.0, 0.0, 120.0, 80.0]])).tolist() == [[0.0, 0.0, 100.0, 50.0]]


def test_an_image_of_the_input_size_is_unchanged() -> None:
    """No filter touches it."""
    boxed, placement = letterbox(PICTURE, PICTURE.shape[:2])

    np.testing.assert_array_equal(boxed, PICTURE)
    assert (placement.scale, placement.left, placement.top) == (1.0, 0, 0)


def test_shrinking_averages() -> None:
    """A checkerboard shrunk to an eighth is grey, not aliased."""
    board = np.indices((64, 64)).sum(axis=0) % 2 * np.uint8(255)
    image = np.repeat(board[..., None].astype(np.uint8), 3, axis=2)

    boxed, _ = letterbox(image, (8, 8))

    assert abs(boxed.astype(int) - 127).max() <= 2


@pytest.mark.parametrize("turn", range(1, 9))
def test_inspection_knows_the_size_that_decoding_gives(tmp_path: Path, turn: int) -> None:
    """Upright, with the stored size and the orientation beside."""
    exif = Image.Exif()
    exif[0x0112] = turn
    file = tmp_path / "a.jpg"
    file.write_bytes(encoded(Image.fromarray(PICTURE), "JPEG", exif=exif))

    facts = inspect(file, max_pixels=LIMIT)

    assert facts.size == decode(file.read_bytes(), max_pixels=LIMIT).shape[:2]
    assert (facts.stored_size, facts.orientation) == ((24, 36), turn)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 95, "subsampling": 0}])
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_inspection_refuses_what_decoding_refuses(
    tmp_path: Path, file_format: str, options: dict[str, object]
) -> None:
    """Every length that a file can be cut to: an eighth of the size finds what the whole would."""
    big = np.random.default_rng(1).integers(0, 256, (96, 120, 3), np.uint8)
    whole = encoded(Image.fromarray(big), file_format, **options)
    file = tmp_path / "a"
    for length in range(0, len(whole) + 1, max(len(whole) // 60, 1)):
        file.write_bytes(whole[:length])
        outcomes = []
        for read in (
            lambda: decode(file.read_bytes(), max_pixels=LIMIT),
            lambda: inspect(file, max_pixels=LIMIT),
        ):
            try:
                read()
                outcomes.append("read")
            except ImageError:
                outcomes.append("refused")
        assert outcomes[0] == outcomes[1], f"cut to {length} of {len(whole)} bytes"
