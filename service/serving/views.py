"""Models, versions and predictions as the api tells of them."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import orjson

from posneg.models.detections import Detections, coco_rows
from posneg.service.repository import ModelVersion
from posneg.service.serving.models import Found, Image, Prediction

SHOWN = (
    "labels",
    "layout",
    "input_size",
    "inputs",
    "outputs",
    "parity",
    "job",
    "dataset",
    "metrics",
    "preprocessing",
    "warnings",
    "size_bytes",
    "created_at",
)
STAGES = ("decode", "queue", "inference", "postprocess")


def version(found: ModelVersion, details: Mapping[str, Any]) -> dict[str, Any]:
    """One version with all that is known of it."""
    own = f"/v1/models/{found.name}/versions/{found.version}"
    return {
        "name": found.name,
        "version": found.version,
        "sha256": details.get("sha256"),
        **{key: details.get(key) for key in SHOWN},
        "links": {
            "self": own,
            "file": f"{own}/files/model.onnx",
            "model": f"/v1/models/{found.name}",
            "predict": f"/v1/models/{found.name}/predict?version={found.version}",
        },
    }


def model(newest: dict[str, Any], versions: Sequence[ModelVersion]) -> dict[str, Any]:
    """A model: its newest version, and all of them in brief, newest first."""
    name = newest["name"]
    brief = [
        {
            "version": v.version,
            "sha256": v.details.get("sha256"),
            "created_at": v.details.get("created_at"),
            "job": v.details.get("job"),
            "links": {"self": f"/v1/models/{name}/versions/{v.version}"},
        }
        for v in sorted(versions, key=lambda v: -v.version)
    ]
    links = {"self": f"/v1/models/{name}", "predict": f"/v1/models/{name}/predict"}
    links |= {"protocol": f"/v2/models/{name}", "versions": newest["links"]["self"].rpartition("/")[0]}
    return {**newest, "versions": brief, "links": links}


def tag(body: Mapping[str, Any]) -> str:
    """What a strong entity tag says of a body: another one whenever anything in it changes."""
    return hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]


def prediction(answer: Prediction, images: Sequence[Image], *, total_ns: int) -> dict[str, Any]:
    """Detections by image, in the order sent; boxes xyxy in pixels of the image as sent."""
    shown = []
    for image, found in zip(images, answer.images, strict=True):
        entry: dict[str, Any] = {"size": list(found.size), "detections": _rows(answer, found.detections)}
        shown.append(entry if image.id is None else {"id": image.id, **entry})
    return {
        "images": shown,
        "model": answer.model,
        "version": answer.version,
        "timing": _timing(answer.images, total_ns),
    }


def _rows(answer: Prediction, found: Detections) -> list[dict[str, Any]]:
    columns = (found.boxes.tolist(), found.labels.tolist(), found.scores.tolist())
    return [
        {"box": box, "label": answer.detector.label(label), "class_id": label, "score": score}
        for box, label, score in zip(*columns, strict=True)
    ]


def _timing(images: Sequence[Found], total_ns: int) -> dict[str, float]:
    """Milliseconds of each stage, summed over the images, and from the request's start to its answer."""
    stages = {f"{stage}_ms": sum(image.times_ns[stage] for image in images) / 1e6 for stage in STAGES}
    return {name: round(ms, 3) for name, ms in (stages | {"total_ms": total_ns / 1e6}).items()}


def coco_results(answer: Prediction, images: Sequence[Image]) -> list[dict[str, object]]:
    """The same as COCO results. Category ids are the data set's, or else count from 1, as COCO's do."""
    rows: list[dict[str, object]] = []
    for index, (image, found) in enumerate(zip(images, answer.images, strict=True)):
        largest = int(found.detections.labels.max(initial=-1))
        ids = answer.detector.category_ids or range(1, largest + 2)
        rows += coco_rows(found.detections, image_id=_image_id(image, index), category_ids=ids)
    return rows


def _image_id(image: Image, index: int) -> int | str:
    """The id sent with the image; of a file's name its number (`000139.jpg`: 139), or all but its end."""
    if image.id is None:
        return index
    if isinstance(image.id, int):
        return image.id
    stem = PurePath(image.id).stem
    return int(stem) if stem.isascii() and stem.isdecimal() else stem
