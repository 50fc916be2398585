"""Live events: one reader a job, however many callers follow it; only readers ask the database."""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from typing import Any

import sqlalchemy as sa
import structlog
from anyio.to_thread import run_sync

log = structlog.get_logger(__name__)
Event = dict[str, Any]
Read = Callable[[str, int], list[Event] | None]

READ_S = 0.1
RETRY_S = 1.0
HEARTBEAT_S = 10.0
KEPT = 2000


class Tails:
    """The readers of all jobs that are followed in this process.

    `read(job, number)` gives the next events after `number`, None where there is no such job.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self._tails: dict[str, _Tail] = {}
        self._closing = threading.Event()

    def end(self) -> None:
        """Let every follower end; from any thread or signal handler."""
        self._closing.set()

    async def close(self) -> None:
        """Let every follower end, and read no more."""
        self.end()
        for tail in list(self._tails.values()):
            await tail.stop()

    async def follow(self, job_id: str, after: int) -> AsyncGenerator[list[Event], None]:
        """The events after `after` as they come, up to `end`; an empty list is a heartbeat."""
        tail = self._tails.get(job_id)
        if tail is None:
            tail = self._tails[job_id] = _Tail(job_id, after, self._read)
        tail.followers += 1
        try:
            async with aclosing(self._told(tail, after)) as batches:
                async for batch in batches:
                    yield batch
        finally:
            tail.followers -= 1
            if tail.followers == 0:
                self._tails.pop(job_id, None)
                await tail.stop()

    async def _told(self, tail: "_Tail", after: int) -> AsyncGenerator[list[Event], None]:
        number, quiet_s = after, 0.0
        while not self._closing.is_set():
            batch = tail.since(number)
            if batch is None:
                batch = await run_sync(self._read, tail.job_id, number) or []
            if batch:
                yield batch
                number, quiet_s = batch[-1]["id"], 0.0
                if batch[-1]["type"] == "end":
                    return
            elif tail.is_gone:
                yield [{"id": number + 1, "type": "end", "state": None, "stop_reason": "deleted"}]
                return
            elif quiet_s >= HEARTBEAT_S:
                yield []
                quiet_s = 0.0
            elif not await tail.news(READ_S * 5):
                quiet_s += READ_S * 5


class _Tail:
    """Reads one job's events while somebody follows it, and keeps the latest."""

    def __init__(self, job_id: str, after: int, read: Read) -> None:
        self.job_id = job_id
        self.followers = 0
        self.is_gone = False
        self._read = read
        self._last = self._floor = after  # every event after the floor is kept
        self._kept: deque[Event] = deque()
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    def since(self, number: int) -> list[Event] | None:
        """The events after `number` that are known; None where some of them are not kept.

        Raises what the reader died of, so that its followers come again and start another one.
        """
        if self._task.done() and not self._task.cancelled() and (error := self._task.exception()):
            raise error
        if number < self._floor:
            return None
        newer: deque[Event] = deque()
        for event in reversed(self._kept):
            if event["id"] <= number:
                break
            newer.appendleft(event)
        return list(newer)

    async def news(self, wait_s: float) -> bool:
        """Whether something came within `wait_s` seconds."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), wait_s)
            return True
        return False

    async def stop(self) -> None:
        """Read no more."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        while not self.is_gone:
            try:
                events = await run_sync(self._read, self.job_id, self._last)
            except sa.exc.OperationalError as error:
                log.warning("database does not answer", job=self.job_id, error=str(error.orig))
                await asyncio.sleep(RETRY_S)
                continue
            if events is None or events:
                self._keep(events)
            else:
                await asyncio.sleep(READ_S)

    def _keep(self, events: list[Event] | None) -> None:
        self.is_gone = events is None
        for event in events or []:
            self._kept.append(event)
            self._last = event["id"]
        while len(self._kept) > KEPT:
            self._floor = self._kept.popleft()["id"]
        told, self._news = self._news, asyncio.Event()
        told.set()
