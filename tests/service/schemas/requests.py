"""Requests for the tests of their reading: small valid ones of every form, and how to change or read them."""

import copy
import json
from typing import Any

from posneg.service.errors import InvalidRequest, ServiceError
from posneg.service.schemas.loss_input import LossInput
from posneg.service.schemas.loss_request import EXAMPLE
from posneg.service.schemas.losses import parse

Json = dict[str, Any]
Path = tuple[str | int, ...]

GRID: Json = {
    "images": [
        {
            "id": "grid",
            "size": [16, 16],
            "ground_truth": [{"label": "x", "box": [1, 1, 9, 9], "weight": 2}],
            "predictions": {
                "boxes": [[1, 1, 8, 8], [2, 2, 9, 9], [8, 8, 16, 16], [0, 0, 4, 4]],
                "logits": [[0.5, 1], [-1, 2], [0, 0], [3, 3]],
                "grid": {"strides": [8]},
            },
        }
    ],
    "classes": ["x", "y"],
}
HEAD: Json = {
    "images": [
        {
            "size": [16, 16],
            "ground_truth": [{"label": 0, "box": [1, 1, 9, 9], "soft_label": {"x": 0.5}}],
            "predictions": {
                "dfl": [[[0.0, 1.0, side] for side in range(4)] for _ in range(5)],
                "logits": [[0.5, row] for row in range(5)],
                "points": [[4, 4], [12, 4], [4, 12], [12, 12], [8, 8]],
                "strides": [8, 8, 8, 8, 16],
                "sampled": [0, 3],
            },
        }
    ],
    "classes": ["x", "y"],
    "preset": "yolov8",
}
COCO: Json = {
    "coco": {
        "ground_truth": {
            "images": [
                {"id": 7, "file_name": "a.jpg", "height": 100, "width": 200},
                {"id": 0, "file_name": "b.jpg", "height": 50, "width": 60},
            ],
            "annotations": [
                {"id": 11, "image_id": 0, "category_id": 90, "bbox": [1, 2, 3, 4], "iscrowd": 1},
                {"id": 12, "image_id": 7, "category_id": 0, "bbox": [5, 6, 7, 8], "area": 56},
                {"id": 13, "image_id": 0, "category_id": 0, "bbox": [0, 0, 9, 9], "segmentation": [[1, 2]]},
            ],
            "categories": [{"id": 90, "name": "toothbrush"}, {"id": 0, "name": "person"}],
        },
        "predictions": [
            {"image_id": 0, "category_id": 0, "bbox": [0, 0, 8, 8], "score": 0.9},
            {"image_id": 7, "category_id": 90, "bbox": [5, 5, 7, 7], "score": 0.2},
        ],
    }
}
VALID = {"article": EXAMPLE, "grid": GRID, "head": HEAD, "coco": COCO}


def read(request: object) -> LossInput:
    """The request as the service reads it."""
    return parse(json.dumps(request).encode())


def refusal(request: object) -> InvalidRequest:
    """What the service refuses a request with."""
    try:
        read(request)
    except InvalidRequest as error:
        return error
    raise AssertionError("the request was taken")


def outcome(body: bytes) -> ServiceError | None:
    """How a body was refused; None where it was read."""
    try:
        parse(body)
    except ServiceError as error:
        return error
    return None


def faults(request: object) -> dict[str, str]:
    """Pointer → code of every fault of a request."""
    return {fault.pointer: fault.code for fault in refusal(request).faults}


def changed(request: Json, path: Path, value: object) -> Json:
    """The request with one value replaced or added."""
    copied = copy.deepcopy(request)
    parent: Any = copied
    for step in path[:-1]:
        parent = parent[step]
    parent[path[-1]] = value
    return copied


def without(request: Json, path: Path) -> Json:
    """The request with one member taken out."""
    copied = copy.deepcopy(request)
    parent: Any = copied
    for step in path[:-1]:
        parent = parent[step]
    del parent[path[-1]]
    return copied
