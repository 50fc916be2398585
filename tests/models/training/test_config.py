"""Training configurations: refused before the run, the same in JSON, and how long a run is."""

import json
import subprocess
import sys

import pytest

from posneg.models.registry import InvalidOptions
from posneg.models.training.config import TrainConfig, default_steps, effective_batch_size, total_steps


def test_json_gives_back_the_same_configuration() -> None:
    """Every field survives, nested ones and defaults too."""
    config = TrainConfig(
        budget_seconds=2.5,
        budget_clock="cpu",
        assigner={"topk": 9, "alpha": 1.0},
        loss={"box": {"name": "giou", "weight": 5.0}},
        augmentation={"scale": [0.5, 1.5]},
    )

    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert TrainConfig.from_dict({}) == TrainConfig()


@pytest.mark.parametrize(
    ("values", "path", "words"),
    [
        ({"stpes": 5}, ("stpes",), "steps"),
        ({"steps": 0}, ("steps",), "below 1"),
        ({"steps": 1.5}, ("steps",), "whole number"),
        ({"steps": True}, ("steps",), "whole number"),
        ({"steps": 5, "epochs": 2}, ("steps",), "epochs and steps"),
        ({"budget_seconds": float("inf")}, ("budget_seconds",), "finite"),
        ({"budget_clock": "sun"}, ("budget_clock",), "'wall', 'cpu'"),
        ({"input_size": 100}, ("input_size",), "use 96 or 128"),
        ({"detector": "none"}, ("detector",), "nano"),
        ({"preset": "none"}, ("preset",), "yolov8"),
        ({"device": "tpu"}, ("device",), "cuda"),
        ({"seed": -1}, ("seed",), "below 0"),
        ({"assigner": 3}, ("assigner",), "object"),
        ({"augmentation": {"mosaic": 2}}, ("augmentation", "mosaic"), "above 1"),
    ],
)
def test_a_bad_value_is_named(values: dict[str, object], path: tuple[str, ...], words: str) -> None:
    """Which field, what is wrong with it, what would do."""
    with pytest.raises(InvalidOptions) as caught:
        TrainConfig.from_dict(values)

    problems = {problem.path: str(problem) for problem in caught.value.problems}
    assert list(problems) == [path]
    assert words in problems[path]


def test_all_bad_values_are_named_at_once() -> None:
    """Nobody has to try again for each."""
    with pytest.raises(InvalidOptions) as caught:
        TrainConfig.from_dict({"steps": 0, "seed": "one"})

    assert {problem.path for problem in caught.value.problems} == {("steps",), ("seed",)}


@pytest.mark.parametrize(
    ("images", "batch_size", "steps"), [(1, 16, 600), (320, 16, 1200), (1_000_000, 16, 6000)]
)
def test_the_data_decide_how_long_a_run_is(images: int, batch_size: int, steps: int) -> None:
    """60 epochs, within bounds."""
    assert default_steps(images, batch_size=batch_size) == steps
    assert total_steps(TrainConfig(batch_size=batch_size), images) == steps


def test_lengths_are_counted_in_steps() -> None:
    """Epochs are of the images at hand; a budget has no number of steps."""
    assert total_steps(TrainConfig(steps=7), 100) == 7
    assert total_steps(TrainConfig(epochs=4, batch_size=16), 40) == 10
    assert total_steps(TrainConfig(epochs=20, batch_size=16), 205) == 257
    assert total_steps(TrainConfig(budget_seconds=1.0), 40) is None
    assert effective_batch_size(TrainConfig(batch_size=16), 8) == 8


def test_a_configuration_needs_no_torch() -> None:
    """The service and the command line check it without loading a framework of a gigabyte."""
    program = "import sys; from posneg.models.training.config import *; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"
