"""What is known of a model before it is used: from the file itself, its metadata, and what its owner says."""

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from posneg.service.serving.inputs import (
    DEFAULT_SIZE,
    PREPROCESSING,
    Array,
    ImageInput,
    Size,
    image_input,
    other_inputs_are_sizes,
)
from posneg.service.serving.layouts import LAYOUTS, Layout, recognise
from posneg.service.serving.wishes import Wishes

MAX_METADATA = 1_000_000  # characters of one property that are looked at


class DescriptionError(ValueError):
    """What the owner says does not fit the file; `parameter` is the one that is wrong."""

    def __init__(self, parameter: str, message: str) -> None:
        super().__init__(message)
        self.parameter = parameter


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A run on one image of zeros: the outputs by name, in the graph's order."""

    outputs: Mapping[str, Array]
    input_size: Size


def input_size_of(
    inputs: Sequence[Mapping[str, Any]], metadata: Mapping[str, str], wishes: Wishes
) -> Size | None:
    """(height, width): fixed by the graph, asked for, in the metadata, else 640; None: no image goes in."""
    image = image_input(inputs)
    if image is None:
        return None
    if image.size is not None:
        if wishes.input_size not in (None, image.size):
            raise DescriptionError("input_size", f"the graph fixes height and width at {image.size}")
        return image.size
    return (
        wishes.input_size
        or _size(_parsed(metadata, "posneg.input_size"))
        or _size(_parsed(metadata, "imgsz"))
        or DEFAULT_SIZE
    )


def describe(
    inputs: Sequence[Mapping[str, Any]], metadata: Mapping[str, str], sample: Sample, wishes: Wishes
) -> dict[str, Any]:
    """Layout, labels, preprocessing and warnings of a model that takes images."""
    image = image_input(inputs)
    assert image is not None, "only models that take images are described"
    labels = wishes.labels or labels_of(metadata)
    layout = _layout(inputs, metadata, sample, wishes, labels)
    if layout is None:
        seen = ", ".join(f"{name} {list(np.shape(o))}" for name, o in sample.outputs.items())
        warning = f"outputs {seen} have no layout that is known; name one with ?layout= or use /v2"
        return {"layout": None, "labels": labels, "preprocessing": None, "warnings": [warning]}
    classes = _classes(layout, sample)
    warnings = []
    if labels is not None and classes is not None and len(labels) != classes:
        if wishes.labels is not None:
            raise DescriptionError("labels", f"{len(labels)} labels for {classes} classes")
        warnings.append(f"the file names {len(labels)} labels and has {classes} classes; names are left out")
        labels = None
    return {
        "layout": layout.name,
        "labels": labels,
        "preprocessing": _preprocessing(metadata, layout, image),
        "warnings": warnings,
    }


def labels_of(metadata: Mapping[str, str]) -> tuple[str, ...] | None:
    """Class names: our own property, or the `names` that YOLO exports carry, by index."""
    own = _parsed(metadata, "posneg.labels")
    if isinstance(own, list):
        return tuple(map(str, own))
    names = _parsed(metadata, "names")
    if isinstance(names, list | tuple):
        return tuple(map(str, names))
    if isinstance(names, dict) and set(names) == set(range(len(names))):
        return tuple(str(names[index]) for index in range(len(names)))
    return None


def _layout(
    inputs: Sequence[Mapping[str, Any]],
    metadata: Mapping[str, str],
    sample: Sample,
    wishes: Wishes,
    labels: Sequence[str] | None,
) -> Layout | None:
    if wishes.layout is not None:
        if wishes.layout not in LAYOUTS:
            raise DescriptionError("layout", f"no layout {wishes.layout!r}; known: {', '.join(LAYOUTS)}")
        return LAYOUTS[wishes.layout]
    image = image_input(inputs)
    if image is None or not other_inputs_are_sizes(inputs, image):
        return None
    shapes = {name: np.shape(output) for name, output in sample.outputs.items()}
    classes = len(labels) if labels is not None else None
    found = recognise(shapes, classes=classes, input_size=sample.input_size)
    return LAYOUTS.get(metadata.get("posneg.layout") or found or "")


def _classes(layout: Layout, sample: Sample) -> int | None:
    """How many classes the layout finds in a sample; None where the rows themselves name theirs."""
    try:
        rows = layout.rows({name: o[0] for name, o in sample.outputs.items()}, sample.input_size)
    except (IndexError, ValueError, TypeError, StopIteration) as error:
        shapes = [list(np.shape(output)) for output in sample.outputs.values()]
        raise DescriptionError(
            "layout", f"{layout.name} is {layout.outputs}; the outputs are {shapes}"
        ) from error
    if rows.boxes.shape[1:] != (4,) or rows.scores.ndim != 2 or not rows.scores.shape[1]:
        raise DescriptionError("layout", f"{layout.name} is {layout.outputs}, which the outputs are not")
    return None if layout.name.startswith("end_to_end") else int(rows.scores.shape[1])


def _preprocessing(metadata: Mapping[str, str], layout: Layout, image: ImageInput) -> dict[str, Any]:
    """Our exports say it themselves; others expect RGB in 0..1, by layout normalised, or plain bytes."""
    own = _parsed(metadata, "posneg.preprocessing")
    scale = own.get("scale") if isinstance(own, dict) else None
    made = {**PREPROCESSING, **layout.normalisation}
    if isinstance(scale, int | float) and 0 < scale < np.inf:
        made["scale"] = scale
    return {**made, "scale": 1} if image.datatype == "UINT8" else made


def _size(value: object) -> Size | None:
    sides = [value, value] if isinstance(value, int) else value
    if (
        isinstance(sides, list | tuple)
        and len(sides) == 2
        and all(isinstance(s, int) and s > 0 for s in sides)
    ):
        return sides[0], sides[1]
    return None


def _parsed(metadata: Mapping[str, str], key: str) -> object:
    """A property as JSON or as a Python literal (which YOLO exports write); None where it is neither."""
    text = metadata.get(key, "")[:MAX_METADATA]
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return None
