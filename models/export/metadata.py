"""What an exported file says of itself, as ONNX metadata: labels, layout, input size, preprocessing."""

import json
from collections.abc import Sequence

from posneg.models.imaging import FILL

FORMAT = "1"
LAYOUT = "yolov8"
INPUT = "images"
OUTPUT = "output0"

PREPROCESSING = {
    "color": "RGB",
    "scale": 1 / 255,
    "letterbox": "center",
    "fill": FILL,
    "resample": "bilinear",
}


def properties(*, labels: Sequence[str], input_size: tuple[int, int]) -> dict[str, str]:
    """Metadata properties of an export; `input_size` is (height, width) in pixels."""
    return {
        "posneg.format": FORMAT,
        "posneg.layout": LAYOUT,
        "posneg.labels": json.dumps(list(labels), ensure_ascii=False),
        "posneg.input_size": json.dumps(list(input_size)),
        "posneg.preprocessing": json.dumps(PREPROCESSING),
    }


def input_size_of(metadata: dict[str, str]) -> tuple[int, int]:
    """(height, width) in pixels, from the metadata properties of an export."""
    height, width = json.loads(metadata["posneg.input_size"])
    return int(height), int(width)
