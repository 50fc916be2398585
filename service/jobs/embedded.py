"""The worker process of `posneg serve`: started and watched by the api, and gone when the api is."""

import asyncio
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

import structlog

from posneg.service.settings import Settings

log = structlog.get_logger(__name__)
COMMAND = (sys.executable, "-m", "posneg.service.jobs.worker", "--embedded")
FIRST_PAUSE_S = 0.5
MAX_PAUSE_S = 30.0
HEALTHY_S = 60.0
STOP_S = 20.0


class EmbeddedWorker:
    """One worker process; started again, after a pause that grows, whenever it dies."""

    def __init__(self, settings: Settings, command: Sequence[str] = COMMAND) -> None:
        self._command = command
        self._environment = environment(settings)
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """The process that works now; None before the start and in a pause."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self) -> None:
        """Start the worker and watch over it."""
        self._watch = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop the worker: its trainer writes a checkpoint, and its job goes back to the queue."""
        self._closing.set()
        if self._watch is not None:
            await self._watch

    async def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._closing.is_set():
            started_at = time.monotonic()
            status = await self._work()
            if self._closing.is_set():
                return
            pause_s = FIRST_PAUSE_S if time.monotonic() - started_at > HEALTHY_S else pause_s
            log.error("worker died; it is started again", status=status, pause_s=pause_s)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), pause_s)
            pause_s = min(2 * pause_s, MAX_PAUSE_S)

    async def _work(self) -> int:
        """One worker process from its start to its end; its exit status."""
        # a pipe that is never written to: its end tells the worker that the api is gone, however it went
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            env=self._environment,
            start_new_session=True,  # so that Ctrl-C reaches the api alone, which then stops its worker
        )
        self._process = process
        ended = asyncio.create_task(process.wait())
        closing = asyncio.create_task(self._closing.wait())
        await asyncio.wait((ended, closing), return_when=asyncio.FIRST_COMPLETED)
        closing.cancel()
        if not ended.done():
            assert process.stdin is not None
            process.stdin.close()
            try:
                await asyncio.wait_for(asyncio.shield(ended), STOP_S)
            except TimeoutError:
                process.kill()
        return await ended


def environment(settings: Settings) -> Mapping[str, str]:
    """The environment in which another process of ours has the same settings, but no keys."""
    told = settings.model_dump(mode="json", exclude={"api_keys"}, exclude_defaults=True)
    told["data"] = str(settings.data.resolve())
    ours = {f"POSNEG_{name.upper()}": str(value) for name, value in told.items()}
    return {name: value for name, value in os.environ.items() if not name.startswith("POSNEG_")} | ours
