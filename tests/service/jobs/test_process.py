"""The trainer's side of the agreement with its worker: lock, pulse, signals, journal."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from posneg.service.jobs.child import LOCKED, STOPPED, Child
from tests.service.jobs.site import STANDIN, wait_for

SPEC = {"steps": 10, "seed": 1, "model": "m"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder."""
    (tmp_path / "spec.json").write_text(json.dumps(SPEC))
    return tmp_path


@pytest.fixture
def paused(tmp_path: Path) -> Iterator[Child]:
    """A trainer that waits at step 7, in its folder."""
    (tmp_path / "spec.json").write_text(json.dumps(SPEC | {"standin": {"pause_at": 7}}))
    with Child(STANDIN, tmp_path, environment=os.environ, silence_s=60) as child:
        told = []
        while not any(event["step"] == 7 for event in told):
            told += child.listen(0.1)
        yield child


def test_a_second_trainer_does_not_touch_the_folder(paused: Child, tmp_path: Path) -> None:
    """Two trainers in one folder would ruin it: the second leaves with the agreed status."""
    command = [sys.executable, "-c", "from posneg.service.jobs import process; process.LOCK_WAIT_S = 0.0;"
               "from tests.service.jobs.standin import work; process.main(work)"]  # fmt: skip

    with Child(command, tmp_path, environment=os.environ, silence_s=60) as second:
        wait_for(lambda: second.status() is not None)
        assert second.status() == LOCKED

    assert paused.status() is None


def test_sigterm_leaves_a_checkpoint(paused: Child, tmp_path: Path) -> None:
    """A trainer that is asked to stop writes down where it is."""
    paused.ask_to_stop()
    wait_for(lambda: paused.status() is not None)

    assert paused.status() == STOPPED
    assert json.loads((tmp_path / "checkpoint.json").read_text())["step"] == 7


def test_a_trainer_whose_worker_is_silent_stops(folder: Path) -> None:
    """No pulse for `silence_s`: the worker is frozen, and its trainer leaves before others get the job."""
    (folder / "spec.json").write_text(json.dumps(SPEC | {"standin": {"pause_at": 7}}))

    with Child(STANDIN, folder, environment=os.environ, silence_s=0.5) as child:
        wait_for(lambda: child.status() is not None)  # nobody calls `listen`, which gives the pulse

        assert child.status() == STOPPED


def test_a_trainer_is_stopped_before_it_has_begun(folder: Path) -> None:
    """Whatever it is importing, a signal ends it at once."""
    with Child(STANDIN, folder, environment=os.environ, silence_s=60) as child:
        child.ask_to_stop()
        wait_for(lambda: child.status() is not None)

        assert child.status() in (STOPPED, -signal.SIGTERM)


def test_what_a_killed_trainer_had_told_is_told_again(folder: Path) -> None:
    """A dead worker may have lost lines; the next one hears all of them, but for one that was cut short."""
    journal = folder / "events.jsonl"
    journal.write_text('{"type": "log", "step": 0, "message": "before"}\n{"type": "loss", "st')
    told = []

    with Child(STANDIN, folder, environment=os.environ, silence_s=60) as child:
        while child.status() is None or told[-1:] == []:
            told += child.listen(0.1)
        told += child.listen(0.1)

    assert told[0]["message"] == "before"
    assert [event["step"] for event in told if event["type"] == "loss"] == list(range(1, 11))
    assert [json.loads(line) for line in journal.read_text().splitlines()] == told


def test_a_finished_run_is_not_run_again(folder: Path) -> None:
    """A trainer that finds a result has nothing to do: its worker died before it could say so."""
    (folder / "result.json").write_text("{}")

    with Child(STANDIN, folder, environment=os.environ, silence_s=60) as child:
        wait_for(lambda: child.status() is not None)

        assert child.status() == 0
    assert not (folder / "checkpoint.json").exists()


def test_what_a_trainer_starts_ends_with_it(folder: Path) -> None:
    """Processes that prepare images do not outlive the trainer that started them."""
    command = ["sh", "-c", "sleep 1000 & echo $! > pid; exit 0"]
    script = folder / "run.sh"
    script.write_text(f"cd {folder}; {command[2]}")

    with Child(["sh", str(script)], folder, environment=os.environ, silence_s=60) as child:
        wait_for(lambda: child.status() is not None)
    started = (folder / "pid").read_text().strip()

    wait_for(
        lambda: subprocess.run(["kill", "-0", started], capture_output=True, check=False).returncode != 0
    )
