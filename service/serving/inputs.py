"""Where an image goes in: which input takes it, of which size, and how its pixels become that tensor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8

from posneg.models.imaging import FILL

Array = np.ndarray[Any, Any]
Size = tuple[int, int]

DEFAULT_SIZE = (640, 640)  # of most exports whose height and width are free
NUMPY_TYPES: dict[str, type[np.generic]] = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BYTES": np.object_,
}
"""The Open Inference Protocol's name → NumPy's type. NumPy has none for BF16, so it is not served."""
PIXEL_TYPES = ("FP32", "FP16", "UINT8")
PREPROCESSING = {
    "color": "RGB",
    "scale": 1 / 255,
    "letterbox": "center",
    "fill": FILL,
    "resample": "bilinear",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInput:
    """The input that takes images: NCHW or NHWC; `rows` and `size` where the graph fixes them."""

    name: str
    datatype: str
    channels_last: bool
    rows: int | None
    size: Size | None


def image_input(inputs: Sequence[Mapping[str, Any]]) -> ImageInput | None:
    """The one input with the shape of RGB images; None where there is none or more than one."""
    found = [candidate for tensor in inputs if (candidate := _as_image(tensor)) is not None]
    return found[0] if len(found) == 1 else None


def _as_image(tensor: Mapping[str, Any]) -> ImageInput | None:
    shape = tensor["shape"]
    if len(shape) != 4 or tensor["datatype"] not in PIXEL_TYPES or 3 not in (shape[1], shape[3]):
        return None
    channels_last = shape[1] != 3
    height, width = shape[1:3] if channels_last else shape[2:]
    return ImageInput(
        name=tensor["name"],
        datatype=tensor["datatype"],
        channels_last=channels_last,
        rows=shape[0] if shape[0] > 0 else None,
        size=(height, width) if height > 0 and width > 0 else None,
    )


def other_inputs_are_sizes(inputs: Sequence[Mapping[str, Any]], image: ImageInput) -> bool:
    """Whether all else that goes in is two integers an image, as D-FINE's and RT-DETR's exports take."""
    others = [tensor for tensor in inputs if tensor["name"] != image.name]
    return all(t["datatype"] in ("INT32", "INT64") and t["shape"][1:] == [2] for t in others)


def tensor_of(
    boxed: UInt8[np.ndarray, "H W 3"], image: ImageInput, preprocessing: Mapping[str, Any]
) -> Array:
    """One letterboxed image as [1, 3, H, W] or [1, H, W, 3], in the input's type and value range."""
    rows = boxed if image.channels_last else boxed.transpose(2, 0, 1)
    if image.datatype == "UINT8":
        return np.ascontiguousarray(rows[None])
    # Division, not a product with 1/255, which rounds otherwise: the same bits as in training.
    values = np.ascontiguousarray(rows, np.float32) / np.float32(1 / preprocessing["scale"])
    if "mean" in preprocessing:
        axis = (3,) if image.channels_last else (3, 1, 1)
        mean, deviation = (np.array(preprocessing[k], np.float32).reshape(axis) for k in ("mean", "std"))
        values = (values - mean) / deviation
    return values[None].astype(NUMPY_TYPES[image.datatype], copy=False)


def zeros(inputs: Sequence[Mapping[str, Any]], rows: int, size: Size | None) -> dict[str, Array]:
    """Something to run a graph on: images of `size`, every other free axis 1 long, strings empty."""
    image = image_input(inputs)
    feeds = {}
    for tensor in inputs:
        shape = [rows, *tensor["shape"][1:]] if tensor["shape"][:1] == [-1] else list(tensor["shape"])
        if image is not None and tensor["name"] == image.name and size is not None:
            shape[slice(1, 3) if image.channels_last else slice(2, 4)] = size
        kind = NUMPY_TYPES.get(tensor["datatype"], np.float32)
        feeds[tensor["name"]] = np.full(
            [max(axis, 1) for axis in shape], "" if kind is np.object_ else 0, kind
        )
    return feeds
