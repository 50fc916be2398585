"""What makes two runs the same run: the settings that decide the weights, and the data."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from posneg.models.data.dataset import Dataset, Sample
from posneg.models.training.checkpoint import CheckpointError
from posneg.models.training.config import TrainConfig

OF_THE_MACHINE = {
    "device",
    "threads",
    "workers",
    "checkpoint_every",
}  # may change from one attempt to the next


def training_samples(config: TrainConfig, dataset: Dataset) -> Sequence[Sample]:
    """The images to train on; raises `ValueError` where there are not enough."""
    samples = dataset.splits.get("train", ())
    if not samples:
        raise ValueError(f"data set {dataset.name!r} has no images in the split train; give it some")
    if config.overfit is None:
        return samples
    if config.overfit > len(samples):
        raise ValueError(f"overfit {config.overfit}: {dataset.name!r} has {len(samples)} training images")
    return samples[: config.overfit]


def identity(config: TrainConfig, dataset: Dataset) -> dict[str, Any]:
    """Settings and a digest of the data: what an attempt shares with the one that it goes on from."""
    settings = {name: value for name, value in config.to_dict().items() if name not in OF_THE_MACHINE}
    digest = hashlib.sha256(json.dumps(dataset.classes).encode())
    for split, samples in sorted(dataset.splits.items()):
        for sample in samples:
            digest.update(json.dumps([split, sample.id, sample.file.name, sample.size]).encode())
            digest.update(sample.boxes.tobytes() + sample.labels.tobytes() + sample.crowd.tobytes())
    return {"settings": json.loads(json.dumps(settings)), "data": digest.hexdigest()}


def require_same(before: Mapping[str, Any], now: Mapping[str, Any], file: Path) -> None:
    """Raise `CheckpointError` where a checkpoint belongs to another run."""
    different = [
        f"{name} {before['settings'].get(name)!r} there, {value!r} now"
        for name, value in now["settings"].items()
        if before["settings"].get(name) != value
    ]
    if before["data"] != now["data"]:
        different.append("the data set has changed")
    if different:
        raise CheckpointError(
            f"{file} belongs to another run ({'; '.join(different)}); use another folder, or delete it"
        )
