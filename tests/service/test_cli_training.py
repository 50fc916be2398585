"""`posneg train`: watched, interrupted, gone on with, published."""

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from posneg.service.cli import program
from posneg.service.cli.progress import _Bar, _Lines, _Live, told

PROGRAM = Path(sys.executable).with_name("posneg")
SHORT = ["--batch-size", "2", "--input-size", "64", "--json"]


def loss(step: int, steps: int) -> dict[str, Any]:
    """A loss event as a run tells it."""
    terms = {"box": {"value": 1.5, "positive": 1.5, "negative": 0.0}}
    counts = {"positive": 7, "negative": 3, "ignored": 0, "ground_truth": 2, "images": 2}
    place = {"step": step, "steps": steps, "epoch": 0, "epochs": 1, "fraction": step / steps}
    return {
        "type": "loss",
        **place,
        "total": 1.5,
        "terms": terms,
        "counts": counts,
        "images_per_second": 20.4,
    }


def metrics(value: float | None) -> dict[str, Any]:
    """A measurement as a run tells it."""
    return {"type": "metrics", "split": "val", "step": 3, "map": value, "map50": value}


def test_run_is_interrupted_gone_on_with_and_used(tmp_path: Path) -> None:
    """Ctrl-C exits with 130 and says how to go on; the end is a published model that finds its own labels."""
    options: dict[str, Any] = {
        "env": os.environ | {"OMP_NUM_THREADS": "1", "POSNEG_DATA": str(tmp_path)},
        "text": True,
    }
    command = [PROGRAM, "train", "--steps", "2", *SHORT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options) as training:
        assert training.stdout is not None
        assert training.stderr is not None
        for line in training.stdout:
            if json.loads(line)["type"] == "loss":
                training.send_signal(signal.SIGINT)
                break
        training.stdout.read()
        assert training.wait() == 130
        hint = training.stderr.read().strip()
    (folder,) = (tmp_path / "runs").iterdir()
    assert hint == f"stopped; go on with: posneg train --resume {folder}"

    going_on = [PROGRAM, "train", "--resume", folder, "--json"]
    finished = subprocess.run(going_on, capture_output=True, check=False, **options)

    assert finished.returncode == 0, finished.stderr
    events = [json.loads(line) for line in finished.stdout.splitlines()]
    assert events[-1]["type"] == "result"
    assert (events[-1]["model"], events[-1]["version"], events[-1]["steps"]) == ("shapes-nano", 1, 2)
    picture = next(tmp_path.rglob("*.png"))
    found = subprocess.run(
        [PROGRAM, "predict", "shapes-nano", picture, "--score", "0", "--json"],
        capture_output=True,
        check=True,
        **options,
    )
    assert json.loads(found.stdout)["images"][0]["detections"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "0"], "--steps: Input should be greater than or equal to 1"),
        (["--input-size", "100"], "--input-size: Input should be a multiple of 32"),
        (["--resume", "/nowhere"], "/nowhere holds no run"),
        (["--resume", "/nowhere", "--steps", "5"], "without steps"),
    ],
)
def test_what_cannot_be_trained_is_told(arguments: list[str], message: str, tmp_path: Path) -> None:
    """Before anything is loaded: exit code 2, and no run is left behind."""
    result = CliRunner().invoke(program.app, ["train", "--data", str(tmp_path), *arguments])

    assert result.exit_code == 2
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_every_fault_of_a_run_is_told(tmp_path: Path) -> None:
    """What the service would answer with pointers, and on standard output nothing."""
    wrong = ["--dataset", "nothing", "--steps", "5", "--epochs", "5", "--preset", "none"]

    result = subprocess.run(
        [PROGRAM, "train", "--data", tmp_path, *wrong], capture_output=True, text=True, check=False
    )

    assert (result.returncode, result.stdout) == (2, "")
    for message in ("no data set 'nothing'", "both say how long", "no preset 'none'"):
        assert message in result.stderr
    assert not (tmp_path / "runs").exists()


def test_a_log_gets_twenty_lines_of_loss_and_every_measurement() -> None:
    """However many steps there are."""
    out = io.StringIO()
    lines = _Lines(Console(file=out, width=200))
    for step in range(1000):
        lines(loss(step, 1000))
    lines(metrics(0.25))

    told_lines = out.getvalue().splitlines()
    assert len(told_lines) == 21
    assert told_lines[0] == "step 0/1000, epoch 0/1  1.500 = box 1.500; 7 positive; 20 images/s"
    assert told_lines[-1] == "val at step 3: AP 0.250, AP50 0.250"


def test_a_terminal_gets_a_bar_and_the_terms() -> None:
    """Progress, place and loss, also on a narrow terminal."""
    out = io.StringIO()
    with _Bar(console=Console(file=out, width=60, force_terminal=True, highlight=False)) as bar:
        live = _Live(bar)
        live(loss(3, 12))
        live(metrics(None))
    drawn = out.getvalue()

    assert "step 3/12, epoch 0/1" in drawn
    assert "1.500 = box 1.500; 7 positive" in drawn
    assert "val at step 3: AP -, AP50 -" in drawn


def test_only_machines_want_checkpoints() -> None:
    """A checkpoint is no news for a reader; a message is."""
    assert told({"type": "checkpoint", "step": 3, "file": "checkpoint.pt"}) is None
    assert told({"type": "log", "message": "hello"}) == "hello"
