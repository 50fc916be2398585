"""The trainer process as its worker sees it: started, listened to, kept alive by a pulse, stopped.

The trainer hears its worker on its standard input: a byte now and then. When that ends the worker is dead,
and when it pauses the worker is frozen; either way the trainer writes a checkpoint and leaves, before the
job is given to another worker.
"""

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

STOPPED = 128 + signal.SIGTERM
"""Exit status of a trainer that was told to stop, after its checkpoint."""
LOCKED = 75
"""Exit status of a trainer that found another one in its run folder."""
PULSE_S = 0.5
READ_BYTES = 65_536


class Child:
    """One trainer process with its pipes; what it starts itself is in its process group."""

    def __init__(
        self, command: Sequence[str], folder: Path, *, environment: Mapping[str, str], silence_s: float
    ) -> None:
        self._events, theirs = os.pipe()
        os.set_blocking(self._events, False)
        self._rest = b""
        self._pulsed_at = 0.0
        told = ["--folder", str(folder), "--events", str(theirs), "--silence", str(silence_s)]
        with (folder / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *told],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs,),
                env=dict(environment),
                start_new_session=True,
            )
        os.close(theirs)
        self._ended = False
        self.pid = self._process.pid
        assert self._process.stdin is not None
        self._stdin = self._process.stdin
        os.set_blocking(self._stdin.fileno(), False)

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._stdin.close()
        os.close(self._events)

    def listen(self, wait_s: float) -> list[dict[str, Any]]:
        """The events that came within `wait_s` seconds; gives a pulse meanwhile."""
        self._pulse()
        if self._ended:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(wait_s)
            return []
        if self.status() is None:
            select.select([self._events], [], [], wait_s)
        try:
            read = os.read(self._events, READ_BYTES)
        except BlockingIOError:
            return []
        self._ended = not read
        self._rest += read
        *lines, self._rest = self._rest.split(b"\n")
        return [json.loads(line) for line in lines if line]

    def status(self) -> int | None:
        """The exit status, negative for the signal that ended it; None while it runs."""
        return self._process.poll()

    def ask_to_stop(self) -> None:
        """Have it write a checkpoint and leave."""
        if self.status() is None:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it and everything that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def _pulse(self) -> None:
        if time.monotonic() - self._pulsed_at < PULSE_S:
            return
        with suppress(BrokenPipeError, BlockingIOError):
            os.write(self._stdin.fileno(), b".")
        self._pulsed_at = time.monotonic()
