"""Files of a run: a checkpoint with all that a resumed run needs to be the untouched one, and weights.

Both are written beside their place, flushed to the disk and renamed: a reader finds the old one or the new
one.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from posneg.models.detectors import detector as detectors
from posneg.models.detectors._contract import Detector

FORMAT = 1
CHECKPOINT = "checkpoint.pt"
BEST = "best.pt"
LAST = "last.pt"


class CheckpointError(ValueError):
    """A file that cannot be gone on from; the message says why and what to do."""


def save(content: Mapping[str, Any], file: Path) -> None:
    """Write tensors and plain values, all or nothing."""
    beside = file.with_name(f".{file.name}.writing")
    with beside.open("wb") as stream:
        torch.save({"format": FORMAT, **content}, stream)
        stream.flush()
        os.fsync(stream.fileno())
    beside.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)  # the renaming itself must last too
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def load(file: Path) -> dict[str, Any]:
    """What `save` wrote, on the CPU; runs no code that a file may hold."""
    try:
        content: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError) as error:
        raise CheckpointError(f"{file} cannot be read ({error}); delete it to start anew") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else None
        raise CheckpointError(
            f"{file} has format {found}; this release reads {FORMAT}; delete it to start anew"
        )
    return content


def save_weights(
    network: Detector, file: Path, *, name: str, classes: tuple[str, ...], input_size: tuple[int, int]
) -> None:
    """A detector to be used: its weights and what is needed to build it again."""
    weights = {key: value.detach().cpu() for key, value in network.state_dict().items()}
    save(
        {"detector": name, "classes": list(classes), "input_size": list(input_size), "weights": weights}, file
    )


def load_weights(file: Path) -> tuple[Detector, tuple[str, ...], tuple[int, int]]:
    """The detector of `save_weights`, ready for use, with its classes and input size (height, width)."""
    content = load(file)
    classes = tuple(content["classes"])
    network = detectors[content["detector"]](classes=len(classes))
    network.load_state_dict(content["weights"])
    height, width = content["input_size"]
    return network.eval(), classes, (height, width)
