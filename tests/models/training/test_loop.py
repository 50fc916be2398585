"""Whole runs: interrupted ones end as untouched ones do, and what is told is what happened."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from posneg.models.data.dataset import Dataset
from posneg.models.data.shapes import generate
from posneg.models.registry import InvalidOptions
from posneg.models.training.checkpoint import CHECKPOINT, CheckpointError, load, load_weights
from posneg.models.training.config import TrainConfig
from posneg.models.training.learner import NonFiniteLoss
from posneg.models.training.loop import TrainResult, train

STEPS = 10
CONFIG = TrainConfig(
    steps=STEPS, batch_size=4, input_size=64, evaluate_every=4, checkpoint_every=3, device="cpu", threads=1
)
Events = list[dict[str, Any]]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A few generated images."""
    return generate(tmp_path_factory.mktemp("data") / "shapes", images={"train": 10, "val": 4, "test": 3})


class Untouched:
    """A run that nobody disturbed."""

    def __init__(self, dataset: Dataset, folder: Path) -> None:
        self.events: Events = []
        self.folder = folder
        self.result = train(CONFIG, dataset, folder, emit=self.events.append)


@pytest.fixture(scope="module")
def untouched(shapes: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Untouched:
    """The run that others are compared with."""
    return Untouched(shapes, tmp_path_factory.mktemp("untouched"))


def told(events: Events) -> Events:
    """What a run tells of its training: not when it was saved, nor how fast it was."""
    kept = [event for event in events if event["type"] in ("loss", "metrics")]
    return [{name: value for name, value in event.items() if name != "images_per_second"} for event in kept]


def assert_same_tree(a: object, b: object) -> None:
    """Equal to the bit, through dictionaries, lists and tensors."""
    if isinstance(a, torch.Tensor):
        assert isinstance(b, torch.Tensor)
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert isinstance(b, dict)
        assert list(a) == list(b)
        for name in a:
            assert_same_tree(a[name], b[name])
    elif isinstance(a, list | tuple):
        assert isinstance(b, list | tuple)
        for x, y in zip(a, b, strict=True):
            assert_same_tree(x, y)
    else:
        assert a == b


def assert_same_run(untouched: Untouched, folder: Path, events: Events, result: TrainResult) -> None:
    """Weights, optimizer, generators, metrics and events."""
    assert told(events) == told(untouched.events)
    assert result.metrics == untouched.result.metrics
    for name in ("best.pt", "last.pt"):
        assert_same_tree(load(untouched.folder / name), load(folder / name))
    ours, theirs = load(untouched.folder / CHECKPOINT), load(folder / CHECKPOINT)
    for content in (ours, theirs):
        del content["progress"]["elapsed_s"]
        del content["generators"]["python"]  # beartype, which checks types here, draws from it
    assert_same_tree(ours, theirs)


def polls() -> Iterator[int]:
    """Random numbers of polls after which each attempt is asked to stop."""
    generator = np.random.default_rng(0)
    while True:
        yield int(generator.integers(1, 8))


def stop_after(polls: int) -> Callable[[], bool]:
    """False so many times, then true."""
    left = iter(range(polls))
    return lambda: next(left, None) is None


def test_a_run_that_was_stopped_again_and_again_equals_an_untouched_one(
    shapes: Dataset, untouched: Untouched, tmp_path: Path
) -> None:
    """Stopped at random polls, in evaluations too, until it is through: bit for bit the same."""
    events: Events = []
    attempts = 0
    for limit in polls():
        attempts += 1
        result = train(CONFIG, shapes, tmp_path, emit=events.append, should_stop=stop_after(limit))
        if not result.stopped:
            break

    assert attempts > 2
    assert_same_run(untouched, tmp_path, events, result)


class Killed(Exception):
    """The process ends here."""


@pytest.mark.parametrize("step", [2, 5, 9])
def test_a_run_that_was_killed_goes_on_from_its_checkpoint(
    shapes: Dataset, untouched: Untouched, tmp_path: Path, step: int
) -> None:
    """Steps after the checkpoint are done and told again, just as before."""
    events: Events = []

    def kill(event: dict[str, Any]) -> None:
        events.append(event)
        if event["type"] == "loss" and event["step"] == step:
            raise Killed

    with pytest.raises(Killed):
        train(CONFIG, shapes, tmp_path, emit=kill)
    result = train(CONFIG, shapes, tmp_path, emit=events.append)

    by_place = {(event["type"], event["step"], event.get("split")): event for event in told(events)}
    assert all(event == by_place[event["type"], event["step"], event.get("split")] for event in told(events))
    once = sorted(
        by_place.values(), key=lambda event: (event["step"], event.get("split") == "test", event["type"])
    )
    assert_same_run(untouched, tmp_path, once, result)


def test_a_finished_run_is_not_trained_again(shapes: Dataset, untouched: Untouched) -> None:
    """Its folder gives the same result."""
    events: Events = []
    again = train(CONFIG, shapes, untouched.folder, emit=events.append)

    assert not [event for event in events if event["type"] == "loss"]
    assert replace(again, seconds=0.0) == replace(untouched.result, seconds=0.0)


def test_workers_change_nothing(shapes: Dataset, untouched: Untouched, tmp_path: Path) -> None:
    """Images prepared ahead by threads are the same images."""
    events: Events = []
    result = train(replace(CONFIG, workers=2), shapes, tmp_path, emit=events.append)

    assert_same_run(untouched, tmp_path, events, result)


def test_training_leaves_the_callers_generators_and_threads_alone(shapes: Dataset, tmp_path: Path) -> None:
    """A run draws from generators of its own."""
    alone = replace(shapes, splits={"train": shapes.splits["train"]})
    torch.manual_seed(7)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    train(replace(CONFIG, steps=1), alone, tmp_path, emit=[].append)
    left = torch.get_num_threads()
    torch.set_num_threads(threads)

    assert torch.equal(torch.get_rng_state(), before)
    assert left == threads + 1


def test_events_tell_what_happened(untouched: Untouched) -> None:
    """Every step's loss by term, closed sums, counts that add up, metrics by class, a checkpoint's file."""
    losses = [event for event in untouched.events if event["type"] == "loss"]
    metrics = [event for event in untouched.events if event["type"] == "metrics"]

    assert [event["step"] for event in losses] == list(range(1, STEPS + 1))
    assert [(event["step"], event["split"]) for event in metrics] == [
        (4, "val"),
        (8, "val"),
        (10, "val"),
        (10, "test"),
    ]
    for event in untouched.events:
        assert (event["steps"], event["epochs"]) == (STEPS, STEPS * 4 // 10)
        assert event["epoch"] == event["step"] * 4 // 10
        assert event["fraction"] == pytest.approx(event["step"] / STEPS)
    for event in losses:
        assert set(event["terms"]) == {"box", "classification", "dfl"}
        for term in event["terms"].values():
            assert term["positive"] + term["negative"] == pytest.approx(term["value"], rel=1e-4)
        assert event["total"] == pytest.approx(sum(t["value"] for t in event["terms"].values()), rel=1e-4)
        counts = event["counts"]
        assert counts["images"] == 4
        assert counts["positive"] + counts["negative"] + counts["ignored"] == 4 * (8**2 + 4**2 + 2**2)
        assert event["images_per_second"] > 0
    assert all(set(event["by_class"]) == {"circle", "square", "triangle"} for event in metrics)
    assert [event["file"] for event in untouched.events if event["type"] == "checkpoint"]


def test_the_result_names_usable_weights(shapes: Dataset, untouched: Untouched) -> None:
    """Both files build the detector again; the figures are those of the best evaluation on val."""
    result = untouched.result
    evaluations = [e for e in untouched.events if e["type"] == "metrics" and e["split"] == "val"]

    assert result.best is not None
    assert result.last is not None
    for file in (result.best, result.last):
        network, classes, size = load_weights(file)
        assert classes == shapes.classes
        assert size == (64, 64)
        assert not network.training
    assert result.map == max(event["map"] for event in evaluations)
    assert set(result.metrics) == {"val", "test"}
    assert (result.steps, result.stopped) == (STEPS, False)


def test_a_checkpoint_of_another_run_is_refused(
    shapes: Dataset, untouched: Untouched, tmp_path: Path
) -> None:
    """The message names what differs; nothing is overwritten."""
    (tmp_path / CHECKPOINT).write_bytes((untouched.folder / CHECKPOINT).read_bytes())
    with pytest.raises(CheckpointError, match="seed 0 there, 1 now"):
        train(replace(CONFIG, seed=1), shapes, tmp_path, emit=[].append)
    fewer = replace(shapes, splits={**shapes.splits, "train": shapes.splits["train"][1:]})
    with pytest.raises(CheckpointError, match="the data set has changed"):
        train(CONFIG, fewer, tmp_path, emit=[].append)
    (tmp_path / CHECKPOINT).write_bytes(b"cut off")
    with pytest.raises(CheckpointError, match="delete it"):
        train(CONFIG, shapes, tmp_path, emit=[].append)


def test_a_budget_ends_the_run_and_goes_on_after_an_interruption(shapes: Dataset, tmp_path: Path) -> None:
    """Seconds are counted over all attempts."""
    config = replace(CONFIG, steps=None, budget_seconds=0.8, budget_clock="cpu", evaluate_every=None)
    events: Events = []
    first = train(config, shapes, tmp_path, emit=events.append, should_stop=stop_after(3))
    second = train(config, shapes, tmp_path, emit=events.append)
    third = train(config, shapes, tmp_path, emit=events.append)

    assert first.stopped
    assert not second.stopped
    assert first.seconds < second.seconds
    assert second.steps == third.steps > first.steps
    assert all(event["steps"] is None for event in events)


def test_a_loss_that_is_not_finite_ends_the_run(shapes: Dataset, tmp_path: Path) -> None:
    """The error names the step and the terms; the checkpoint from before stays."""
    config = replace(CONFIG, loss={"box": {"weight": 1e39}})
    with pytest.raises(NonFiniteLoss, match=r"step 1: .*box (inf|nan).*classification \d"):
        train(config, shapes, tmp_path, emit=[].append)

    assert not (tmp_path / CHECKPOINT).exists()


def test_options_that_do_not_fit_are_refused_before_the_first_step(shapes: Dataset, tmp_path: Path) -> None:
    """Unknown terms, more images than there are, no images at all."""
    with pytest.raises(InvalidOptions, match="objectness"):
        train(replace(CONFIG, loss={"objectness": {}}), shapes, tmp_path, emit=[].append)
    with pytest.raises(ValueError, match="overfit 11"):
        train(replace(CONFIG, overfit=11), shapes, tmp_path, emit=[].append)
    with pytest.raises(ValueError, match="no images in the split train"):
        train(CONFIG, replace(shapes, splits={}), tmp_path, emit=[].append)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="cuda"):
            train(replace(CONFIG, device="cuda"), shapes, tmp_path, emit=[].append)


def test_without_anything_held_out_the_last_weights_are_the_best(shapes: Dataset, tmp_path: Path) -> None:
    """There is nothing to choose by."""
    alone = replace(shapes, splits={"train": shapes.splits["train"]})
    result = train(replace(CONFIG, steps=2), alone, tmp_path, emit=[].append)

    assert result.best is not None
    assert result.last is not None
    assert result.map is None
    assert result.metrics == {}
    assert_same_tree(load(result.best), load(result.last))


def test_other_presets_train_too(shapes: Dataset, tmp_path: Path) -> None:
    """The criterion is that of the service, with whatever assigner and losses are asked for."""
    config = replace(
        CONFIG,
        steps=2,
        assigner={"name": "task_aligned", "topk": 5},
        loss={"box": {"name": "giou"}, "classification": {"name": "focal", "target": "hard"}},
    )
    events: Events = []
    train(config, shapes, tmp_path, emit=events.append)

    assert all(math.isfinite(event["total"]) for event in events if event["type"] == "loss")


@pytest.mark.gpu
def test_a_gpu_trains_what_a_cpu_trains(shapes: Dataset, untouched: Untouched, tmp_path: Path) -> None:
    """In bfloat16 the first losses agree to some percent; an interruption changes nothing of note."""
    events: Events = []
    config = replace(CONFIG, device="cuda")
    stopped = train(config, shapes, tmp_path, emit=events.append, should_stop=stop_after(4))
    result = train(config, shapes, tmp_path, emit=events.append)
    losses = [event for event in events if event["type"] == "loss"]
    expected = [event for event in untouched.events if event["type"] == "loss"]

    assert stopped.stopped
    assert result.steps == STEPS
    assert [event["step"] for event in losses] == list(range(1, STEPS + 1))
    assert losses[0]["total"] == pytest.approx(expected[0]["total"], rel=0.05)
    assert all(math.isfinite(event["total"]) for event in losses)


def test_eight_images_are_learnt_by_heart(shapes: Dataset, tmp_path: Path) -> None:
    """The sanity check for data and settings: AP50 of at least 0.9 on what was trained on."""
    config = TrainConfig(overfit=8, steps=100, input_size=128, device="cpu", threads=1)
    result = train(config, shapes, tmp_path, emit=[].append)

    assert set(result.metrics) == {"train"}
    assert result.map50 is not None
    assert result.map50 >= 0.9
