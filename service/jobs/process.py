"""The trainer process's side of the agreement with its worker: lock, signals, pulse, events, result.

What is done in it is a function of the job's description; a stand-in for tests keeps to the same agreement.
"""

import argparse
import fcntl
import json
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from posneg.service.errors import OutOfMemory, ServiceError, TrainingFailed
from posneg.service.jobs import events, failures
from posneg.service.jobs.child import LOCKED, STOPPED

Emit = Callable[[dict[str, Any]], None]
ShouldStop = Callable[[], bool]
Work = Callable[[dict[str, Any], Path, Emit, ShouldStop], dict[str, Any] | None]
"""Description, run folder, where to tell events, whether to stop → result; None where it stopped early."""

LOCK_WAIT_S = 10.0
LOCK_RETRY_S = 0.1
ORPHAN_GRACE_S = 5.0
FAILED = 1


def main(work: Work) -> None:
    """Do the work of a run folder as a worker's child; ends the process with the agreed status."""
    parser = argparse.ArgumentParser(description="Trains what a run folder describes; started by a worker.")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--events", type=int, required=True, help="descriptor for JSON lines")
    parser.add_argument("--silence", type=float, required=True, help="seconds without a pulse until it stops")
    told = parser.parse_args()
    stop = _Stop()
    signal.signal(signal.SIGTERM, stop.on_signal)
    lock = _lock(told.folder)
    if lock is None:
        sys.exit(LOCKED)
    threading.Thread(target=stop.on_silence, args=(told.silence,), daemon=True).start()
    with Journal(told.folder / "events.jsonl", told.events) as journal:
        status = _do(work, told.folder, journal, stop)
    sys.stdout.flush()
    os._exit(status)  # at once: what has been imported by now can take seconds to be taken down


class Journal:
    """Events, kept in the run folder and told to the worker.

    What was told before a kill may not have reached the database; so all is told again, and stored once.
    """

    def __init__(self, file: Path, descriptor: int) -> None:
        self._worker = open(descriptor, "w")  # noqa: SIM115 - closed by `close`
        self._known: set[str] = set()
        whole = _whole_lines(file)
        for line in whole:
            self._known.add(events.key(json.loads(line)))
            self._send(line)
        self._file = file.open("r+" if file.exists() else "w")
        self._file.truncate(sum(len(line.encode()) + 1 for line in whole))
        self._file.seek(0, os.SEEK_END)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        with suppress(BrokenPipeError):
            self._worker.close()

    def tell(self, event: dict[str, Any]) -> None:
        """Keep an event if it is new, and tell the worker of it either way."""
        line = json.dumps(event)
        key = events.key(event)
        if key not in self._known:
            self._known.add(key)
            print(line, file=self._file, flush=True)
        self._send(line)

    def _send(self, line: str) -> None:
        with suppress(BrokenPipeError):  # the worker is dead: the end of standard input says so too
            print(line, file=self._worker, flush=True)


class _Stop:
    """Whether to stop: by a signal, or since the worker is dead or frozen."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.is_working = False

    def __call__(self) -> bool:
        return self._event.is_set()

    def on_signal(self, *_: object) -> None:
        """Stop; at once where there is nothing to write down yet."""
        self._event.set()
        if not self.is_working:
            os._exit(STOPPED)

    def on_silence(self, silence_s: float) -> None:
        """Stop when standard input ends or is silent for too long."""
        while select.select([0], [], [], silence_s)[0] and os.read(0, 4096):
            pass
        self._event.set()
        # a write to a worker that is frozen never returns; the checkpoint before this one has to do
        time.sleep(ORPHAN_GRACE_S)
        os._exit(STOPPED)


def _do(work: Work, folder: Path, journal: Journal, stop: _Stop) -> int:
    """Work, and say how it ended."""
    if (folder / "result.json").exists():
        return 0
    spec = json.loads((folder / "spec.json").read_text())
    stop.is_working = True
    try:
        result = work(spec, folder, journal.tell, stop)
    except ServiceError as error:
        return _failed(folder, error)
    except MemoryError as error:
        return _failed(folder, OutOfMemory(str(error) or "main memory is full"))
    except Exception as error:  # the job's boundary: whatever went wrong is told as its failure
        (folder / "traceback.txt").write_text(traceback.format_exc())
        out_of_memory = type(error).__name__ == "OutOfMemoryError"  # torch's, which is not imported here
        kind = OutOfMemory if out_of_memory else TrainingFailed
        return _failed(folder, kind(f"{type(error).__name__}: {error}"))
    if result is None:
        return STOPPED
    write(folder / "result.json", result)
    return 0


def write(file: Path, content: dict[str, Any]) -> None:
    """Write a JSON file, which appears whole or not at all."""
    temporary = file.with_name(f".{file.name}")
    temporary.write_text(json.dumps(content, indent=2))
    temporary.replace(file)


def _failed(folder: Path, error: ServiceError) -> int:
    # where our data lies is nobody's business
    error.detail = error.detail.replace(str(folder.parent.parent), "")
    sys.stderr.write(f"{error.title}: {error.detail}\n")
    failures.write(folder, error)
    return FAILED


def _lock(folder: Path) -> IO[str] | None:
    """The run folder, locked; None where another trainer keeps it."""
    lock = (folder / ".lock").open("w")
    deadline = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except BlockingIOError:
            if time.monotonic() > deadline:
                return None
            time.sleep(LOCK_RETRY_S)


def _whole_lines(file: Path) -> list[str]:
    """The lines of a journal but a last one that was cut short by a kill."""
    text = file.read_text() if file.exists() else ""
    return text.split("\n")[:-1]
