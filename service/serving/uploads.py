"""Images as they come in a request: one body, the parts of a form, or base64 in JSON."""

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import orjson

from posneg.service.errors import Fault, InvalidRequest
from posneg.service.serving.models import Image

MAX_IMAGES = 256
"""Images of one request."""


def from_json(body: bytes) -> list[Image]:
    """`{"images": [{"data": base64 or data URI, "id": ...}, ...]}`; an element may also be the text alone."""
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest.at("", f"the body is not JSON: {error}", "json_invalid") from error
    elements = message.get("images") if isinstance(message, dict) else None
    if not isinstance(elements, list):
        detail = 'send {"images": [{"data": "<base64>"}]}: an object with a list of images'
        raise InvalidRequest.at("/images", detail, "missing")
    counted(elements)
    read = [_element(element, f"/images/{index}") for index, element in enumerate(elements)]
    if faults := [each for each in read if isinstance(each, Fault)]:
        raise InvalidRequest(f"{len(faults)} of {len(read)} images cannot be read", faults=faults)
    return [each for each in read if isinstance(each, Image)]


def counted(images: Sequence[object]) -> None:
    """Raise `InvalidRequest` unless there are 1 to `MAX_IMAGES`."""
    if not images:
        raise InvalidRequest.at("/images", "no image was sent; send at least one", "no_images")
    if len(images) > MAX_IMAGES:
        detail = f"{len(images)} images, more than max_images = {MAX_IMAGES}; send them in parts"
        raise InvalidRequest.at("/images", detail, "too_many_images")


def _element(element: Any, pointer: str) -> Image | Fault:  # noqa: ANN401 - whatever JSON holds
    if isinstance(element, str):
        element = {"data": element}
    if not isinstance(element, dict):
        return Fault(pointer, "an image is an object with 'data', or its base64 text", "invalid_type")
    name, text = element.get("id"), element.get("data")
    if isinstance(name, bool) or not isinstance(name, str | int | None):
        return Fault(f"{pointer}/id", "an id is text or a whole number", "invalid_type")
    if not isinstance(text, str):
        return Fault(f"{pointer}/data", "the image's bytes are missing; send them as base64", "missing")
    data = _decoded(text)
    if data is None:
        detail = "neither base64 nor a data URI (data:image/jpeg;base64,...)"
        return Fault(f"{pointer}/data", detail, "invalid_base64")
    return Image(data, f"{pointer}/data", name)


def _decoded(text: str) -> bytes | None:
    """The bytes of base64 text, with or without the head of a data URI; None where it is neither."""
    if text.startswith("data:"):
        head, comma, text = text.partition(",")
        if not comma or not head.endswith(";base64"):
            return None
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return None
