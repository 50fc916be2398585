"""Following events: one reader a job, everything once and in order, also for who comes late."""

import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest

from posneg.service.jobs import tails
from posneg.service.jobs.tails import Event, Tails

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Uvicorn's."""
    return "asyncio"


class Log:
    """Events that grow, and who reads them."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.is_there = True
        self.reads: list[int] = []

    def add(self, count: int, kind: str = "loss") -> None:
        """So many more events."""
        start = len(self.events) + 1
        self.events += [{"id": number, "type": kind} for number in range(start, start + count)]

    def read(self, _: str, after: int) -> list[Event] | None:
        """As the queue reads them, in small pages."""
        self.reads.append(after)
        return self.events[after : after + 7] if self.is_there else None


async def _numbers(batches: AsyncIterator[list[Event]]) -> list[int]:
    return [event["id"] async for batch in batches for event in batch]


async def test_every_follower_gets_every_event_once() -> None:
    """Followers that start anywhere, early or late, all get the rest in order, and then the end."""
    log = Log()
    followed = Tails(log.read)
    got: dict[int, list[int]] = {}

    async def follow(after: int) -> None:
        got[after] = await _numbers(followed.follow("job", after))

    async with anyio.create_task_group() as group:
        group.start_soon(follow, 0)
        log.add(30)
        await _until(lambda: 28 in log.reads)
        for after in (3, 17, 30):
            group.start_soon(follow, after)
        log.add(10)
        log.add(1, "end")

    assert got == {after: list(range(after + 1, 42)) for after in (0, 3, 17, 30)}


async def test_followers_share_one_reader() -> None:
    """A hundred callers of one job cost the database as much as one."""
    log = Log()
    followed = Tails(log.read)

    async with anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(_numbers, followed.follow("job", 0))
        for _ in range(5):
            reads = len(log.reads)
            log.add(1)
            await _until(lambda before=reads: len(log.reads) >= before + 2)
        log.add(1, "end")

    assert set(log.reads) <= set(range(7))
    assert len(log.reads) < 60


async def test_who_falls_behind_reads_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a reader no longer keeps is read again for the one that needs it."""
    monkeypatch.setattr(tails, "KEPT", 5)
    log = Log()
    followed = Tails(log.read)
    slow = followed.follow("job", 0)
    log.add(3)
    got = [event["id"] for event in await anext(slow)]
    log.add(40)
    await _until(lambda: 42 in log.reads or 43 in log.reads)
    log.add(1, "end")

    got += await _numbers(slow)

    assert got == list(range(1, 45))


async def test_silence_is_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing happens, an empty batch says that the stream lives."""
    monkeypatch.setattr(tails, "HEARTBEAT_S", 0.0)
    followed = Tails(Log().read).follow("job", 0)

    assert await anext(followed) == []
    assert await anext(followed) == []
    await followed.aclose()


async def test_a_deleted_job_ends_its_streams() -> None:
    """A job that is gone has an end too."""
    log = Log()
    log.is_there = False

    batches = [batch async for batch in Tails(log.read).follow("job", 3) if batch]

    assert batches == [[{"id": 4, "type": "end", "state": None, "stop_reason": "deleted"}]]


async def test_a_reader_that_dies_breaks_its_streams() -> None:
    """Callers are not left waiting for a reader that is no more."""

    def read(_: str, after: int) -> list[Event]:
        raise RuntimeError("so")

    with pytest.raises(RuntimeError, match="so"):
        await _numbers(Tails(read).follow("job", 0))


async def test_closing_lets_everybody_go() -> None:
    """A service that stops does not wait for jobs that go on, whatever thread tells it."""
    followed = Tails(Log().read)
    threading.Thread(target=followed.end).start()

    assert await _numbers(followed.follow("job", 0)) == []


async def _until(what: Callable[..., Any]) -> None:
    with anyio.fail_after(20):
        while not what():
            await anyio.sleep(0.01)
