"""From what was asked for to what is to be done: defaults filled in, all faults named, without torch."""

from collections.abc import Mapping
from typing import Any

from posneg.models.presets import resolve
from posneg.models.registry import InvalidOptions
from posneg.models.training.config import LENGTHS, TrainConfig, total_steps
from posneg.service.datasets import catalog
from posneg.service.errors import Fault, InvalidRequest, NotFound
from posneg.service.records import Records
from posneg.service.schemas.jobs import TrainRequest

OWN = ("kind", "dataset", "priority", "model")  # of the service; the rest is the training's


def resolved(wanted: TrainRequest, records: Records) -> dict[str, Any]:
    """The description of a job; raises `InvalidRequest` with everything that is wrong."""
    given = wanted.model_dump(exclude_none=True)
    faults: list[Fault] = []
    dataset = _dataset(wanted.dataset, records, faults)
    config = _config({name: value for name, value in given.items() if name not in OWN}, faults)
    if faults or config is None or dataset is None:
        raise InvalidRequest("the job cannot be run as it is asked for", faults=faults)
    spec = given | {name: getattr(config, name) for name in LENGTHS}
    if all(spec[name] is None for name in LENGTHS):
        spec["steps"] = total_steps(config, dataset["images"])
    model = wanted.model or f"{wanted.dataset}-{wanted.detector}".replace("/", "-")
    return spec | {"model": model, "dataset_etag": dataset["etag"]}


def config_of(spec: Mapping[str, Any]) -> TrainConfig:
    """The training's part of a job's description."""
    return TrainConfig.from_dict({name: spec[name] for name in TrainConfig.__slots__ if name in spec})


def _config(given: Mapping[str, Any], faults: list[Fault]) -> TrainConfig | None:
    try:
        config = TrainConfig.from_dict(given)
        if config.assigner or config.loss:  # knowing their options takes torch, so only where there are any
            resolve(config.preset, assigner=config.assigner, loss=config.loss)
    except InvalidOptions as error:
        faults += [
            Fault(_pointer(problem.path), str(problem), "invalid_option") for problem in error.problems
        ]
        return None
    return config


def _pointer(path: tuple[str | int, ...]) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _dataset(name: str, records: Records, faults: list[Fault]) -> Mapping[str, Any] | None:
    """The number of images to train on, and the version, of a data set."""
    try:
        found = catalog.get(records, name)
    except NotFound as error:
        faults.append(Fault("/dataset", error.detail, "unknown_dataset"))
        return None
    images = found["splits"].get("train", {}).get("images", 0)
    if not images:
        faults.append(Fault("/dataset", f"{name!r} has no images in the split train", "empty_dataset"))
        return None
    return {"images": images, "etag": found["etag"]}
