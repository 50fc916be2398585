"""One version of a model in memory: what is known of it, its session, its queue."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from posneg.service.errors import Conflict, InvalidRequest, Unavailable
from posneg.service.repository import ModelVersion
from posneg.service.serving.batching import Batcher, Limits
from posneg.service.serving.inputs import ImageInput, Size, image_input, zeros
from posneg.service.serving.inspection import inspect
from posneg.service.serving.layouts import LAYOUTS, Layout
from posneg.service.serving.sessions import RUNTIME_ERRORS, Session, Stop, cuda_available, reason
from posneg.service.serving.statistics import Statistics
from posneg.service.serving.wishes import Wishes
from posneg.service.settings import Settings

DESCRIPTION = ("inputs", "outputs", "layout", "labels", "input_size", "preprocessing", "batchable")


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """How images become this model's input, and its outputs detections."""

    image: ImageInput
    layout: Layout
    input_size: Size
    preprocessing: dict[str, Any]
    labels: tuple[str, ...] | None
    category_ids: tuple[int, ...] | None
    """The data set's own ids of the classes, where they are known."""

    def label(self, index: int) -> str:
        """The class's name; its number where the model has no names, or not so many."""
        return self.labels[index] if self.labels and index < len(self.labels) else str(index)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A version that answers."""

    name: str
    version: int
    details: dict[str, Any]
    provider: str
    batcher: Batcher
    max_batch_size: int
    """Rows that one request may have; 0: the model has no batch."""

    @property
    def detector(self) -> Detector:
        """How it is used on images; raises `Conflict` for a model that gives no detections."""
        image, layout = image_input(self.details["inputs"]), self.details["layout"]
        if image is None or layout is None:
            why = "; ".join(self.details.get("warnings") or ["its layout is not known"])
            raise Conflict(f"model {self.name!r}, version {self.version}, gives no detections: {why}")
        height, width = self.details["input_size"]
        labels = self.details["labels"]
        return Detector(
            image=image,
            layout=LAYOUTS[layout],
            input_size=(height, width),
            preprocessing=self.details["preprocessing"],
            labels=tuple(labels) if labels else None,
            category_ids=tuple(self.details.get("category_ids") or ()) or None,
        )


def load(
    found: ModelVersion, settings: Settings, threads: ThreadPoolExecutor, statistics: Statistics
) -> Loaded:
    """Bring a version into memory; blocks. Raises `Unavailable` with the reason where it cannot be used."""
    details = described(found)
    try:
        session = Session(found.file, threads=settings.session_threads, cuda=cuda_available())
    except RUNTIME_ERRORS as error:
        raise Unavailable(f"model {found.name!r}, version {found.version}: {reason(error)}") from error
    _warm_up(session, details, settings.max_run_s)
    limits = Limits(
        max_rows=settings.max_batch_size if details["batchable"] else 0,
        max_delay_s=settings.max_batch_delay_ms / 1000,
        max_queue=settings.max_queue_size,
        max_run_s=settings.max_run_s,
        slots=runs_at_once(settings) if session.provider.startswith("CPU") else 1,
    )
    return Loaded(
        name=found.name,
        version=found.version,
        details=details,
        provider=session.provider,
        batcher=Batcher(session, threads, limits, statistics),
        max_batch_size=limits.max_rows,
    )


def _warm_up(session: Session, details: dict[str, Any], max_run_s: float) -> None:
    """A first run, in which ONNX Runtime allocates; only for images, since others may well refuse zeros."""
    if details["input_size"] is None:
        return
    height, width = details["input_size"]
    stop = Stop()
    deadline = threading.Timer(max_run_s, stop)
    deadline.start()
    try:
        session.run(
            [output["name"] for output in details["outputs"]],
            zeros(details["inputs"], 1, (height, width)),
            stop,
        )
    except RUNTIME_ERRORS as error:
        where = f"model {details['name']!r}, version {details['version']}"
        raise Unavailable(f"{where}: it does not run: {reason(error)}") from error
    finally:
        deadline.cancel()


def described(found: ModelVersion) -> dict[str, Any]:
    """The version's details, completed by a child process where they do not say how the file is used."""
    kept = dict(found.details)
    if not all(key in kept for key in DESCRIPTION):
        size = kept.get("input_size")
        wishes = Wishes(
            layout=kept.get("layout"),
            labels=tuple(kept["labels"]) if kept.get("labels") else None,
            input_size=(size[0], size[1]) if size else None,
        )
        try:
            kept |= inspect(found.file, wishes)
        except InvalidRequest as error:  # a fault of the folder's, not of whoever asks now
            raise Unavailable(f"model {found.name!r}, version {found.version}: {error.detail}") from error
    return kept | {"name": found.name, "version": found.version}


def runs_at_once(settings: Settings) -> int:
    """Runs that the machine's cores can take side by side."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(cores // settings.session_threads, 1)
