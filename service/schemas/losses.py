"""The body of POST /v1/assignments and POST /v1/losses to a `LossInput`: all faults are found, then told."""

from typing import Any

from posneg.service.schemas.coco import read_coco
from posneg.service.schemas.decoding import decode
from posneg.service.schemas.faults import Faults
from posneg.service.schemas.images import ReadImage, finish_images, inferred_notices, read_images
from posneg.service.schemas.labels import Labels
from posneg.service.schemas.loss_input import LossInput, Notice
from posneg.service.schemas.loss_request import LossRequest
from posneg.service.schemas.options import options
from posneg.service.schemas.tensors import open_safetensors


def parse(body: bytes) -> LossInput:
    """A request from its JSON; raises `InvalidRequest` with a pointer to each bad element."""
    return interpret(decode(body))


def parse_safetensors(body: bytes) -> LossInput:
    """A request whose columns are tensors, the rest of it JSON in the metadata key `request`."""
    return interpret(open_safetensors(body))


def interpret(document: Any) -> LossInput:  # noqa: ANN401 - any JSON value
    """A request from its JSON value, as `decode` gives it; columns may be arrays already."""
    faults = Faults()
    if type(document) is not dict:
        faults.wrong_type("", document, "an object with `images` or `coco`")
        faults.raise_if_any()
    envelope = options(document, faults)
    labels = Labels.read(envelope.classes, faults)
    images, labels, notices = _read(document, envelope, labels, faults)
    finished = finish_images(images, labels, faults)
    return LossInput(
        images=finished,
        classes=labels.names,
        box_format="xywh" if envelope.coco is not None else envelope.box_format,
        preset=envelope.preset,
        assigner=envelope.assigner,
        loss=envelope.loss,
        head=envelope.head,
        dtype=envelope.dtype,
        gradients=envelope.gradients,
        detail=envelope.detail,
        group_by=list(envelope.group_by),
        notices=notices,
    )


def _read(
    document: dict[str, Any], envelope: LossRequest, labels: Labels, faults: Faults
) -> tuple[list[ReadImage], Labels, list[Notice]]:
    """The images of whichever form was sent; exactly one is."""
    if (envelope.images is None) == (envelope.coco is None):
        said = "neither `images` nor `coco`" if envelope.images is None else "both `images` and `coco`"
        code = "missing_field" if envelope.images is None else "conflicting_fields"
        faults.add("/images", f"{said}; send one of them", code)
        return [], labels, []
    if envelope.coco is None:
        images = read_images(envelope.images, envelope.grid, labels, faults)
        return images, labels, inferred_notices(images, labels)
    if document.get("box_format") not in (None, "xywh"):
        faults.add("/box_format", "COCO's boxes are xywh; leave it out", "conflicting_fields")
    if envelope.grid is not None:
        faults.add("/grid", "COCO results have no grid", "conflicting_fields")
    return read_coco(envelope.coco, labels, faults)
