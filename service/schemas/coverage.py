"""The body of POST /v1/coverage and its answer: ground truth alone, sizes of the input, strides."""

from dataclasses import dataclass, replace
from math import inf
from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from posneg.service.schemas.coco import read_coco
from posneg.service.schemas.coco_rows import TRUTH
from posneg.service.schemas.faults import Faults, given, shown
from posneg.service.schemas.images import ReadImage, read_images
from posneg.service.schemas.labels import Labels
from posneg.service.schemas.loss_answer import Documented, Number, Warned
from posneg.service.schemas.loss_input import BoxFormat, Notice
from posneg.service.schemas.loss_request import Coco, CocoDataset, Image, Strict
from posneg.service.schemas.numbers import is_number

Size = tuple[float, float]
INPUT_SIZES, STRIDES = (320, 416, 640, 1280), (8, 16, 32)
MAX_INPUT_SIZES, MAX_STRIDES = 64, 16
LARGEST_INPUT, SMALLEST_STRIDE = 65_536.0, 0.25
PASSED_OVER = ("predictions", "grid")
"""Of images that are sent as for /v1/losses: not looked at."""
EXAMPLE: dict[str, Any] = {
    "images": [
        {
            "id": "street-1",
            "size": [480, 640],
            "ground_truth": [
                {"id": "GT1", "label": "car", "box": [100, 50, 210, 150]},
                {"id": "GT2", "label": "sign", "box": [331, 50, 338, 57]},
            ],
        }
    ],
    "input_sizes": [320],
    "strides": [8, 16, 32],
    "letterbox": "center",
}
ANSWER_EXAMPLE: dict[str, Any] = {
    "input_sizes": [
        {
            "input_size": 320,
            "ground_truth": 2,
            "unreachable": 1,
            "candidates_per_box": {"min": 0, "p10": 0, "p50": 0, "p90": 56, "max": 56},
            "by_size": {
                "small": {"ground_truth": 1, "unreachable": 1},
                "medium": {"ground_truth": 0, "unreachable": 0},
                "large": {"ground_truth": 1, "unreachable": 0},
            },
            "boxes": [
                {
                    "image": "street-1",
                    "image_index": 0,
                    "ground_truth": "GT2",
                    "ground_truth_index": 1,
                    "label": "sign",
                    "reason": "NO_CENTER_INSIDE",
                    "smallest_stride_that_reaches": 4.0,
                }
            ],
            "boxes_left_out": 0,
        }
    ],
    "counts": {"images": 1, "ground_truth": 2, "ground_truth_ignored": 0},
    "warnings": [],
    "resolved": {"strides": [8.0, 16.0, 32.0], "letterbox": "center"},
}
Sides = Annotated[list[float], Field(min_length=2, max_length=2)]


class CoverageRequest(Strict):
    """`images` or `coco`, as for /v1/losses; predictions are not looked at."""

    images: list[Image] | None = None
    coco: Coco | CocoDataset | None = Field(None, description="A data set, or a pair of which it is part.")
    classes: list[str] | None = None
    box_format: BoxFormat = Field("xyxy", description="Of every box in `images`; COCO's are xywh.")
    input_sizes: list[float | Sides] = Field(
        list(INPUT_SIZES),
        min_length=1,
        max_length=MAX_INPUT_SIZES,
        description="Pixels: the side of a square, or [height, width].",
    )
    strides: list[float] = Field(
        list(STRIDES), min_length=1, max_length=MAX_STRIDES, description="Pixels, one a level."
    )
    letterbox: Literal["center"] = Field(
        "center", description="Scaled by the tighter side and centred; the padding is not rounded."
    )


class SizeCount(Documented):
    """Boxes of one size, and how many of them no point reaches."""

    ground_truth: int
    unreachable: int


class UnreachableBox(Documented):
    """A box without a point inside."""

    image: str | int
    image_index: int
    ground_truth: str | int
    ground_truth_index: int
    reason: Literal["NO_CENTER_INSIDE", "DEGENERATE", "NONFINITE"]
    smallest_stride_that_reaches: Number = Field(
        description="The smallest of `strides`, halved until a point lies inside; null where none would."
    )


class InputCoverage(Documented):
    """What one size of the input can reach."""

    input_size: float | list[float]
    ground_truth: int = Field(description="Without crowds and what else is ignored.")
    unreachable: int
    candidates_per_box: dict[str, int | None] = Field(
        description="Quantiles (not interpolated) of how many points of all levels lie strictly inside a box."
    )
    by_size: dict[str, SizeCount] = Field(description="By area in the image: below 32², below 96², above.")
    boxes: list[UnreachableBox]
    boxes_left_out: int = Field(description="Unreachable boxes beyond those that are listed.")


class CoverageAnswer(Documented):
    """One entry a size of the input, in the order as sent."""

    input_sizes: list[InputCoverage]
    counts: dict[str, int]
    warnings: list[Warned]
    resolved: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageInput:
    """A request after parsing. Boxes are as sent; every image that has some has a size, (height, width)."""

    images: list[ReadImage]
    classes: list[str]
    box_format: BoxFormat
    input_sizes: list[Size]
    echoed_sizes: list[Any]
    strides: list[float]
    letterbox: str
    notices: list[Notice]


def read_coverage(document: Any) -> CoverageInput:  # noqa: ANN401 - any JSON value
    """A request from its JSON value; raises `InvalidRequest` for every fault at once."""
    faults = Faults()
    if type(document) is not dict:
        faults.wrong_type("", document, "an object with `images` or `coco`")
        faults.raise_if_any()
    faults.unknown_fields("", document, CoverageRequest.model_fields)
    labels = Labels.read(document.get("classes"), faults)
    images, labels, notices = _read_images(document, labels, faults)
    sizes = _items(document, "input_sizes", INPUT_SIZES, MAX_INPUT_SIZES, faults)
    strides = _items(document, "strides", STRIDES, MAX_STRIDES, faults)
    request = CoverageInput(
        images=images,
        classes=labels.finish(),
        box_format="xywh" if document.get("coco") is not None else _choice(document, "box_format", faults),
        input_sizes=[_input_size(size, f"/input_sizes/{n}", faults) for n, size in enumerate(sizes)],
        echoed_sizes=sizes,
        strides=[_stride(stride, f"/strides/{n}", faults) for n, stride in enumerate(strides)],
        letterbox=_choice(document, "letterbox", faults),
        notices=notices,
    )
    faults.raise_if_any()
    return request


def _read_images(
    document: dict[str, Any], labels: Labels, faults: Faults
) -> tuple[list[ReadImage], Labels, list[Notice]]:
    """The images of whichever form was sent, each with a size if it has boxes."""
    images, coco = document.get("images"), document.get("coco")
    if (images is None) == (coco is None):
        said = "neither `images` nor `coco`" if images is None else "both `images` and `coco`"
        code = "missing_field" if images is None else "conflicting_fields"
        faults.add("/images", f"{said}; send one of them", code)
        return [], labels, []
    if coco is not None:
        return _read_coco(document, labels, faults)
    if type(images) is list:
        images = [_without_predictions(image) for image in images]
    before = faults.total
    found = read_images(images, None, labels, faults)
    if faults.total == before:
        _require_sizes(found, "/images/{}/size", faults)
    return found, labels, []


def _without_predictions(image: Any) -> Any:  # noqa: ANN401 - any JSON value
    if type(image) is not dict:
        return image
    return {name: value for name, value in image.items() if name not in PASSED_OVER}


def _read_coco(
    document: dict[str, Any], labels: Labels, faults: Faults
) -> tuple[list[ReadImage], Labels, list[Notice]]:
    """From a data set, or from a pair whose results are not looked at."""
    if document.get("box_format") not in (None, "xywh"):
        faults.add("/box_format", "COCO's boxes are xywh; leave it out", "conflicting_fields")
    coco, own = document["coco"], Faults()
    bare = type(coco) is dict and "ground_truth" not in coco and "annotations" in coco
    pair = {"ground_truth": coco} if bare else coco
    if type(pair) is dict:
        pair = {name: value for name, value in pair.items() if name != "predictions"}
    images, labels, notices = read_coco(pair, labels, own)
    if not own.total:
        _require_sizes(images, TRUTH + "/images/{}", own)
    for fault in own.kept:
        faults.add(_pointer(fault.pointer, bare), fault.detail, fault.code)
    faults.total += own.total - len(own.kept)
    told = [replace(n, pointer=None if n.pointer is None else _pointer(n.pointer, bare)) for n in notices]
    return images, labels, [notice for notice in told if notice.code != "SIZE_UNKNOWN"]


def _pointer(pointer: str, bare: bool) -> str:
    return pointer.replace(TRUTH, "/coco", 1) if bare else pointer


def _require_sizes(images: list[ReadImage], pointer: str, faults: Faults) -> None:
    for index, image in enumerate(images):
        if image.size is None and len(image.ground_truth.boxes):
            faults.missing(
                pointer.format(index), "no height and width, by which boxes are scaled to the input"
            )


def _items(
    document: dict[str, Any], name: str, default: tuple[int, ...], most: int, faults: Faults
) -> list[Any]:
    value = given(document, name, list(default))
    if type(value) is not list:
        faults.wrong_type(f"/{name}", value, "a list")
    elif not 1 <= len(value) <= most:
        faults.add(f"/{name}", f"{len(value)} elements, not 1 to {most}", "wrong_length")
    else:
        return value
    return []


def _input_size(value: Any, pointer: str, faults: Faults) -> Size:  # noqa: ANN401 - any JSON value
    sides = value if type(value) is list else [value, value]
    if len(sides) != 2 or not all(map(is_number, sides)):
        faults.wrong_type(pointer, value, "a number of pixels, or [height, width]")
    elif not all(1 <= side <= LARGEST_INPUT for side in sides):
        faults.add(pointer, f"not 1 to {LARGEST_INPUT:g} pixels", "out_of_range")
    else:
        return float(sides[0]), float(sides[1])
    return 1.0, 1.0


def _stride(value: Any, pointer: str, faults: Faults) -> float:  # noqa: ANN401 - any JSON value
    if not is_number(value):
        faults.wrong_type(pointer, value, "a number of pixels")
    elif not SMALLEST_STRIDE <= value < inf:
        detail = f"{shown(value)} is not finite and at least {SMALLEST_STRIDE}"
        faults.add(pointer, detail, "out_of_range")
    else:
        return float(value)
    return 1.0


def _choice(document: dict[str, Any], name: str, faults: Faults) -> Any:  # noqa: ANN401 - a literal of the field
    field = CoverageRequest.model_fields[name]
    value, known = given(document, name, field.default), get_args(field.annotation)
    if value not in known:
        faults.add(f"/{name}", f"{shown(value)} is none of {', '.join(known)}", "unknown_value")
        return field.default
    return value
