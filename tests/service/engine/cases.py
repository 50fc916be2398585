"""Criterion vectors as requests: what to send, and what the upstream computed for it."""

from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One request, and what the upstream computed for it."""

    request: Json
    terms: dict[str, float]
    gradients: dict[str, Any] = field(default_factory=dict)


def losses_of(expected: Json) -> Json:
    """The terms in float64 where they are, else in float32."""
    return expected.get("losses_float64") or expected["losses"]


def gradient_of(expected: Json, name: str) -> Any:
    """A gradient in float64 where it is, else in float32."""
    return expected.get(f"grad64_{name}") or expected[f"grad_{name}"]


def truth(one: Json, *, shift: int = 0, key: str = "gt_boxes") -> list[Json]:
    """An image's ground truth, labels counted from `shift`."""
    labels = one.get("gt_labels") or [shift] * len(one[key])
    return [{"box": box, "label": label - shift} for box, label in zip(one[key], labels, strict=True)]


def envelope(preset: str, classes: int, images: list[Json], **rest: Any) -> Json:
    """The request around images, with gradients asked for."""
    names = [str(n) for n in range(classes)]
    numbered = [{"id": n, **image} for n, image in enumerate(images)]
    return {"images": numbered, "classes": names, "preset": preset, "gradients": True, **rest}


def corners(box: list[float]) -> list[float]:
    """Corners of a box given by centre and size."""
    x, y, width, height = box
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
