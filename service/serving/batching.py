"""Requests that wait for one model share its runs, and never their fate.

The queue belongs to one version. Only requests alike in item shapes, types and asked outputs run together.
What queues up while no run is free to start makes the next batch; a run that fails is repeated request by
request, so that a bad one harms no other. The queue is bounded, and callers that gave up leave it.
"""

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from posneg.service.errors import BadRequest, ServiceError, TooManyRequests, Unavailable
from posneg.service.serving.sessions import RUNTIME_ERRORS, Session, Stop, reason
from posneg.service.serving.statistics import Statistics

Array = np.ndarray[Any, Any]
Outcome = list[Array] | ServiceError


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How a model's requests are gathered."""

    max_rows: int
    """Rows of one run; 0: requests never share a run."""
    max_delay_s: float
    max_queue: int
    max_run_s: float
    slots: int
    """Runs at the same time."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The outputs, in the order asked for, and where the time went."""

    outputs: list[Array]
    queue_ns: int
    infer_ns: int


@dataclass(slots=True, eq=False)
class _Waiting:
    feeds: Mapping[str, Array]
    names: tuple[str, ...]
    rows: int
    key: tuple[object, ...]
    answer: "asyncio.Future[Answered]"
    since_ns: int
    until_ns: float


class Batcher:
    """The queue of one session; lives on one event loop, runs in `threads`."""

    def __init__(
        self, session: Session, threads: ThreadPoolExecutor, limits: Limits, statistics: Statistics
    ) -> None:
        self._session = session
        self._threads = threads
        self._limits = limits
        self._statistics = statistics
        self._queue: deque[_Waiting] = deque()
        self._free = limits.slots
        self._timer: asyncio.TimerHandle | None = None
        self._runs: set[asyncio.Task[None]] = set()  # the loop itself holds no task fast

    async def run(
        self, feeds: Mapping[str, Array], names: tuple[str, ...], *, rows: int, timeout_s: float = np.inf
    ) -> Answered:
        """The outputs `names` for `feeds`, which hold `rows` rows; `timeout_s` is how long it may queue."""
        if len(self._queue) >= self._limits.max_queue:
            raise TooManyRequests(
                f"{len(self._queue)} requests wait for this model, as many as may (max_queue_size); retry"
            )
        loop = asyncio.get_running_loop()
        now = time.perf_counter_ns()
        waiting = _Waiting(
            feeds=feeds,
            names=names,
            rows=rows,
            key=(names, *((name, a.dtype, a.shape[1:]) for name, a in feeds.items())),
            answer=loop.create_future(),
            since_ns=now,
            until_ns=now + timeout_s * 1e9,
        )
        self._queue.append(waiting)
        if timeout_s < np.inf:
            loop.call_later(timeout_s, self._drop_lost)
        self._start_runs()
        return await waiting.answer

    def _start_runs(self) -> None:
        """Start what can start now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._free and (batch := self._next_batch()):
            self._free -= 1
            run = asyncio.get_running_loop().create_task(self._run(batch))
            self._runs.add(run)
            run.add_done_callback(self._runs.discard)

    def _next_batch(self) -> list[_Waiting]:
        """The oldest request and those like it; none if nothing waits, or company may still come."""
        self._drop_lost()
        if not self._queue:
            return []
        first = self._queue[0]
        if self._limits.max_rows == 0:
            return [self._queue.popleft()]
        # With several runs free at once the queue is shared out among them.
        share = -(-sum(w.rows for w in self._queue) // self._free)
        room = max(min(share, self._limits.max_rows), first.rows)
        batch: list[_Waiting] = []
        for waiting in self._queue:
            if waiting.key == first.key and waiting.rows <= room:
                batch.append(waiting)
                room -= waiting.rows
        delay_s = self._limits.max_delay_s - (time.perf_counter_ns() - first.since_ns) / 1e9
        if delay_s > 0 and sum(w.rows for w in batch) < self._limits.max_rows:
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._start_runs)
            return []
        chosen = set(map(id, batch))
        self._queue = deque(w for w in self._queue if id(w) not in chosen)
        return batch

    def _drop_lost(self) -> None:
        """Take out of the queue whoever gave up or has waited for too long."""
        now = time.perf_counter_ns()
        for waiting in [w for w in self._queue if w.answer.done() or now > w.until_ns]:
            self._queue.remove(waiting)
            if not waiting.answer.done():
                waiting.answer.set_exception(Unavailable("Request timeout expired"))
                self._statistics.fail.add(now - waiting.since_ns)

    async def _run(self, batch: list[_Waiting]) -> None:
        started = time.perf_counter_ns()
        loop = asyncio.get_running_loop()
        stop = Stop()
        deadline = loop.call_later(self._limits.max_run_s, stop)
        try:
            outcomes = await loop.run_in_executor(self._threads, _outcomes, self._session, batch, stop)
            ended = time.perf_counter_ns()
            self._statistics.ran(sum(w.rows for w in batch), ended - started)
            for waiting, outcome in zip(batch, outcomes, strict=True):
                self._settle(waiting, outcome, started, ended)
        finally:
            deadline.cancel()
            self._free += 1
            for waiting in batch:
                if not waiting.answer.done():  # a bug of ours must not leave callers waiting
                    waiting.answer.set_exception(RuntimeError("the run ended without an answer"))
            self._start_runs()

    def _settle(self, waiting: _Waiting, outcome: Outcome, started: int, ended: int) -> None:
        if waiting.answer.done():  # the caller has gone
            return
        queue_ns, infer_ns = started - waiting.since_ns, ended - started
        if isinstance(outcome, ServiceError):
            waiting.answer.set_exception(outcome)
            self._statistics.fail.add(queue_ns + infer_ns)
            return
        waiting.answer.set_result(Answered(outcome, queue_ns, infer_ns))
        self._statistics.answered(queue_ns=queue_ns, infer_ns=infer_ns)


def _outcomes(session: Session, batch: Sequence[_Waiting], stop: Stop) -> list[Outcome]:
    """Each request's outputs or its error; in a thread."""
    if len(batch) == 1:
        return [_alone(session, batch[0], stop)]
    try:
        return list(_together(session, batch, stop))
    except RUNTIME_ERRORS:
        return [_alone(session, waiting, stop) for waiting in batch]


def _together(session: Session, batch: Sequence[_Waiting], stop: Stop) -> list[list[Array]]:
    names = batch[0].names
    feeds = {name: np.concatenate([w.feeds[name] for w in batch]) for name in batch[0].feeds}
    outputs = session.run(names, feeds, stop)
    ends = np.cumsum([w.rows for w in batch])
    if any(len(output) != ends[-1] for output in outputs):
        raise ValueError("the outputs have not as many rows as the inputs")
    parts = [np.split(output, ends[:-1]) for output in outputs]
    return [list(part) for part in zip(*parts, strict=True)]


def _alone(session: Session, waiting: _Waiting, stop: Stop) -> Outcome:
    try:
        return session.run(waiting.names, waiting.feeds, stop)
    except RUNTIME_ERRORS as error:
        if stop.options.terminate:
            return Unavailable("the model took longer than max_run_s; the run was stopped")
        return BadRequest(f"the model fails on this input: {reason(error)}")
