"""One training run, from nothing or from its checkpoint, to averaged weights and their metrics."""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from posneg.models.data.augmentation import Augmentation
from posneg.models.data.dataset import Dataset
from posneg.models.data.loading import Examples, Loader
from posneg.models.detectors._contract import Detector
from posneg.models.training import checkpoint, generators
from posneg.models.training.checkpoint import BEST, CHECKPOINT, LAST
from posneg.models.training.config import TrainConfig, effective_batch_size, total_steps
from posneg.models.training.evaluation import Metrics, Stopped, evaluate
from posneg.models.training.events import Position, event, loss_event, metrics_event
from posneg.models.training.generators import seeded
from posneg.models.training.identity import identity, require_same, training_samples
from posneg.models.training.learner import Learner
from posneg.models.training.machine import loader_workers, named_device, torch_threads
from posneg.models.training.schedule import Schedule, Stopwatch

CHECKPOINT_EVERY_S = 30.0

Emit = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """What a run led to. Weights are averaged ones: the best by `map` on val, and the last.

    `map` and `map50` belong to the best weights; `metrics` has everything by split, test among them where
    there is one. They are None while nothing has been evaluated. `epochs` counts whole ones.
    """

    best: Path | None
    last: Path | None
    map: float | None
    map50: float | None
    metrics: Mapping[str, Mapping[str, Any]]
    steps: int
    epochs: int
    seconds: float
    stopped: bool


@dataclass(slots=True, kw_only=True)
class _Progress:
    """How far a run has come; with the learner's state all that a checkpoint needs."""

    step: int = 0
    elapsed_s: float = 0.0
    evaluations: int = 0
    evaluated_step: int = -1
    best: dict[str, Any] | None = None


def train(
    config: TrainConfig,
    dataset: Dataset,
    folder: Path,
    *,
    emit: Emit,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainResult:
    """Train in `folder`, going on from the checkpoint in it if there is one.

    `emit` gets an event now and then; when `should_stop` turns true, a checkpoint is written and the result
    says `stopped`. On a CPU with the same number of threads, an interrupted run gives the same weights,
    metrics and events as an untouched one, unless a time budget decides its length.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        stack.enter_context(torch_threads(config.threads))
        device = named_device(config.device)
        stack.enter_context(seeded(config.seed, device))
        run = _Run(config, dataset, folder, device, emit, should_stop)
        stack.enter_context(run.loader)
        run.resume()
        return run.finish() if run.learn() else run.stop()


class _Run:
    """A run in its folder."""

    def __init__(
        self,
        config: TrainConfig,
        dataset: Dataset,
        folder: Path,
        device: torch.device,
        emit: Emit,
        should_stop: Callable[[], bool],
    ) -> None:
        self.config, self.dataset, self.folder, self.device = config, dataset, folder, device
        self.emit, self.should_stop = emit, should_stop
        self.identity = identity(config, dataset)
        samples = training_samples(config, dataset)
        self.size = (config.input_size, config.input_size)
        self.examples = Examples(samples, self.size)
        self.batch_size = effective_batch_size(config, len(samples))
        self.schedule = Schedule(
            steps=total_steps(config, len(samples)),
            budget_s=config.budget_seconds,
            evaluate_every=config.evaluate_every,
        )
        self.held_out = self._held_out()
        self.learner = Learner(config, classes=len(dataset.classes), device=self.device)
        self.loader = Loader(
            self.examples,
            batch_size=self.batch_size,
            seed=config.seed,
            augmentation=Augmentation.none() if config.overfit else Augmentation.of(config.augmentation),
            workers=loader_workers(config.workers, self.device),
        )
        self.progress = _Progress()
        self.watch = Stopwatch(config.budget_clock)
        self.saved_at = time.monotonic()

    def _held_out(self) -> tuple[str, Examples] | None:
        """The split that the best weights are chosen by; the training images themselves in an overfit run."""
        if self.config.overfit:
            return "train", self.examples
        samples = self.dataset.splits.get("val")
        return ("val", Examples(samples, self.size)) if samples else None

    def resume(self) -> None:
        """Go on from the folder's checkpoint, if there is one of the same run."""
        file = self.folder / CHECKPOINT
        if not file.exists():
            self.emit(event("log", self.position, message=self._introduction()))
            return
        content = checkpoint.load(file)
        require_same(content["identity"], self.identity, file)
        self.learner.restore(content["learner"])
        self.progress = _Progress(**content["progress"])
        self.watch = Stopwatch(self.config.budget_clock, already_s=self.progress.elapsed_s)
        generators.restore(content["generators"], self.device)

    def learn(self) -> bool:
        """Step after step until the schedule ends; false when asked to stop before."""
        since, images = time.monotonic(), 0
        while (fraction := self._fraction()) < 1:
            due = self.schedule.evaluation(self.progress.step, fraction)
            if due > self.progress.evaluations and not self._evaluate(due):
                return False
            if self.should_stop():
                return False
            step = self.progress.step
            rate = self.learner.learning_rate * self.schedule.learning_rate_factor(step, fraction)
            batch = self.loader.batch(step, mosaics=self.schedule.mosaics(fraction))
            breakdown = self.learner.learn(batch, step=step, learning_rate=rate)
            self.progress.step += 1
            images += len(batch.images)
            if self.progress.step == 1 or self.progress.step % self.schedule.loss_every == 0:
                now = time.monotonic()
                self.emit(
                    loss_event(
                        self.position,
                        breakdown,
                        images=len(batch.images),
                        learning_rate=rate,
                        images_per_second=images / max(now - since, 1e-9),
                    )
                )
                since, images = now, 0
            if self._checkpoint_due():
                self.save(told=self.config.checkpoint_every is not None)
        return True

    def finish(self) -> TrainResult:
        """The last evaluation, the weights' files, and the metrics of the best ones on what was held out."""
        if self.progress.evaluated_step < self.progress.step and not self._evaluate(
            self.progress.evaluations
        ):
            return self.stop()
        self.save()
        self._save_weights(LAST)
        if self.progress.best is None:
            self._save_weights(BEST)
        metrics = {}
        if self.held_out and self.progress.best:
            metrics[self.held_out[0]] = self.progress.best["metrics"]
        if not self.config.overfit and (samples := self.dataset.splits.get("test")):
            network, _, _ = checkpoint.load_weights(self.folder / BEST)
            found = self._metrics(network, Examples(samples, self.size, cache_mib=0))
            if found is None:
                return self.stop()
            self.emit(metrics_event(self.position, "test", found))
            metrics["test"] = asdict(found)
        return self._result(metrics, stopped=False)

    def stop(self) -> TrainResult:
        """Leave a checkpoint to go on from."""
        self.save(told=False)
        best = self.progress.best
        metrics = {self.held_out[0]: best["metrics"]} if self.held_out and best else {}
        return self._result(metrics, stopped=True)

    def _result(self, metrics: dict[str, Any], *, stopped: bool) -> TrainResult:
        best = self.progress.best["metrics"] if self.progress.best else {}
        files = [self.folder / name for name in (BEST, LAST)]
        return TrainResult(
            best=files[0] if files[0].exists() else None,
            last=files[1] if files[1].exists() else None,
            map=best.get("map"),
            map50=best.get("map50"),
            metrics=metrics,
            steps=self.progress.step,
            epochs=self.position.epoch,
            seconds=self.watch.elapsed_s,
            stopped=stopped,
        )

    def save(self, *, told: bool = True) -> None:
        """Write the checkpoint: everything that the rest of the run depends on.

        One that an untouched run would not write at this step is not told: events are the same for both.
        """
        if told:  # before it is there: a run that is killed in between tells it again, rather than never
            self.emit(event("checkpoint", self.position, file=CHECKPOINT))
        self.progress.elapsed_s = self.watch.elapsed_s
        content = {
            "identity": self.identity,
            "progress": asdict(self.progress),
            "learner": self.learner.state(),
            "generators": generators.states(self.device),
        }
        checkpoint.save(content, self.folder / CHECKPOINT)
        self.saved_at = time.monotonic()

    def _checkpoint_due(self) -> bool:
        every = self.config.checkpoint_every
        if every is not None:
            return self.progress.step % every == 0
        return time.monotonic() - self.saved_at >= CHECKPOINT_EVERY_S

    def _evaluate(self, due: int) -> bool:
        """Measure the averaged weights and keep the best; false when asked to stop meanwhile."""
        if self.held_out is not None:
            split, examples = self.held_out
            found = self._metrics(self.learner.average.network, examples)
            if found is None:
                return False
            self.emit(metrics_event(self.position, split, found))
            best = self.progress.best["metrics"]["map"] if self.progress.best else None
            if best is None or (found.map is not None and found.map >= best):
                self._save_weights(BEST)
                self.progress.best = {"step": self.progress.step, "metrics": asdict(found)}
        self.progress.evaluations = due
        self.progress.evaluated_step = self.progress.step
        self.save()
        return True

    def _metrics(self, network: Detector, examples: Examples) -> Metrics | None:
        """The metrics, or None when asked to stop before they are known."""
        try:
            return evaluate(
                network.to(self.device),
                examples,
                self.dataset.classes,
                device=self.device,
                should_stop=self.should_stop,
            )
        except Stopped:
            return None

    def _save_weights(self, name: str) -> None:
        checkpoint.save_weights(
            self.learner.average.network,
            self.folder / name,
            name=self.config.detector,
            classes=self.dataset.classes,
            input_size=self.size,
        )

    @property
    def position(self) -> Position:
        """Where the run is."""
        step, steps, images = self.progress.step, self.schedule.steps, len(self.examples)
        return Position(
            step=step,
            steps=steps,
            epoch=step * self.batch_size // images,
            epochs=None if steps is None else max(steps * self.batch_size // images, 1),
            fraction=round(self._fraction(), 6),
        )

    def _fraction(self) -> float:
        return self.schedule.fraction(self.progress.step, self.watch.elapsed_s)

    def _introduction(self) -> str:
        parameters = sum(p.numel() for p in self.learner.network.parameters())
        images, boxes = len(self.examples), sum(len(s.boxes) for s in self.examples.samples)
        length = f"{self.schedule.steps} steps"
        if self.schedule.budget_s is not None:
            length = f"{self.schedule.budget_s:g} seconds of {self.config.budget_clock} time"
        threads = f" with {torch.get_num_threads()} threads" if self.device.type == "cpu" else ""
        return (
            f"{self.config.detector}, {parameters:,} parameters, on {self.device}{threads}; {images} images "
            f"with {boxes} boxes of {len(self.dataset.classes)} classes, {self.batch_size} images a step; "
            f"{length}"
        )
