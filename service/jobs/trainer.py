"""What a training job does, from its data set to a published model; the main program of the trainer."""

import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posneg.service.jobs import process
from posneg.service.jobs.process import Emit, ShouldStop
from posneg.service.settings import Settings

if TYPE_CHECKING:
    from posneg.models.data.dataset import Dataset
    from posneg.models.training.loop import TrainResult

EXPORT = "export/model.onnx"
PARITY_IMAGES = 4
LAYOUT = "yolov8"


def run(
    spec: Mapping[str, Any], folder: Path, *, settings: Settings, emit: Emit, should_stop: ShouldStop
) -> dict[str, Any] | None:
    """Train, export, compare, publish; the job's result, or None where it was told to stop before.

    Goes on from the checkpoint in `folder`. A run that has published already finds its own version again.
    """
    # Threads that spin while they wait burn cores that others need; OpenMP reads this as torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # torch only now: the process listens to its worker before it takes seconds to import
    from posneg.models.training.checkpoint import load_weights
    from posneg.models.training.loop import train
    from posneg.service.datasets import open_dataset
    from posneg.service.jobs.specs import config_of
    from posneg.service.records import Records
    from posneg.service.store import Store

    records = Records(settings.database_url)
    try:
        dataset = open_dataset(
            spec["dataset"], records, Store(settings), settings.datasets_folder, etag=spec.get("dataset_etag")
        )
    finally:
        records.close()
    trained = train(config_of(spec), dataset, folder, emit=emit, should_stop=should_stop)
    if trained.stopped:
        return None
    weights = trained.best or trained.last
    assert weights is not None, "a run that was not stopped has weights"
    network, labels, input_size = load_weights(weights)
    parity = _export(network, folder / EXPORT, dataset, labels=labels, input_size=input_size)
    details = {
        "labels": list(labels),
        "layout": LAYOUT,
        "input_size": list(input_size),
        "parity": parity,
        "job": spec.get("id"),
        "dataset": {"name": spec["dataset"], "etag": spec.get("dataset_etag")},
        "metrics": trained.metrics,
        "detector": spec["detector"],
        "preset": spec["preset"],
    }
    version = _publish(settings.models_folder, spec["model"], folder / EXPORT, details)
    return _result(spec, trained) | {"version": version, "parity": parity}


def main() -> None:
    """`python -m posneg.service.jobs.trainer`, as a worker starts it; settings come from the environment."""
    settings = Settings()

    def work(
        spec: dict[str, Any], folder: Path, emit: Emit, should_stop: ShouldStop
    ) -> dict[str, Any] | None:
        def tell(event: dict[str, Any]) -> None:
            _log(event)
            emit(event | _time_left(spec, event))

        return run(spec, folder, settings=settings, emit=tell, should_stop=should_stop)

    process.main(work)


def _export(
    network: Any,  # noqa: ANN401 - a torch module, which is not imported here
    file: Path,
    dataset: "Dataset",
    *,
    labels: tuple[str, ...],
    input_size: tuple[int, int],
) -> dict[str, Any]:
    """Write the ONNX file; how its answers compare with the network's on some images of the data set."""
    from posneg.models.export.onnx import export
    from posneg.models.export.parity import parity
    from posneg.models.imaging import decode

    file.parent.mkdir(exist_ok=True)
    export(network, labels=labels, input_size=input_size, file=file)
    split = next(name for name in ("val", "test", "train") if dataset.splits.get(name))
    samples = sorted(dataset.splits[split], key=lambda sample: len(sample.boxes) == 0)[:PARITY_IMAGES]
    images = [
        decode(sample.file.read_bytes(), max_pixels=sample.size[0] * sample.size[1]) for sample in samples
    ]
    return parity(network, file, images).to_json()


def _publish(models_folder: Path, name: str, file: Path, details: Mapping[str, Any]) -> int:
    """The version: a new one, or that of this job where a trainer before this one came as far."""
    from posneg.service import repository

    for version in repository.versions(models_folder, name):
        if (
            details["job"]
            and repository.read(models_folder, name, version).details.get("job") == details["job"]
        ):
            return version
    return repository.publish(models_folder, name, file, details=details).version


def _result(spec: Mapping[str, Any], trained: "TrainResult") -> dict[str, Any]:
    told = asdict(trained)
    by_budget = spec.get("budget_seconds") is not None
    return {name: told[name] for name in ("map", "map50", "metrics", "steps", "epochs", "seconds")} | {
        "model": spec["model"],
        "stop_reason": "budget_spent" if by_budget else "completed",
    }


def _time_left(spec: Mapping[str, Any], event: Mapping[str, Any]) -> dict[str, float]:
    """Of a run with a budget; for the others the steps tell."""
    if spec.get("budget_seconds") is None or event.get("fraction") is None:
        return {}
    return {"eta_seconds": round(spec["budget_seconds"] * (1 - event["fraction"]), 1)}


def _log(event: Mapping[str, Any]) -> None:
    """The lines of the job's log: what is for readers, and how well it goes."""
    if event["type"] == "log":
        line = event["message"]
    elif event["type"] == "metrics":
        line = f"step {event['step']}: map {event['map']} map50 {event['map50']} on {event['split']}"
    else:
        return
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
