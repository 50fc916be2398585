"""A place with a database, an api's queue and worker processes, on which tests run jobs of the stand-in."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal

from posneg.service.jobs.queue import JobQueue
from posneg.service.migrations import migrate
from posneg.service.records import Records
from posneg.service.settings import Settings

STANDIN = (sys.executable, str(Path(__file__).with_name("standin.py")))
LEASE_S = 4.0
PATIENCE_S = 120.0
OF_THE_MOMENT = ("id", "at", "images_per_second", "eta_seconds")


class Site:
    """Jobs, and those who run them."""

    def __init__(self, settings: Settings, portal: BlockingPortal) -> None:
        self.settings = settings
        self.records = Records(settings.database_url)
        self.queue = JobQueue(settings, self.records)
        self.portal = portal
        self.workers: list[subprocess.Popen[bytes]] = []
        self._numbers = count(1)

    def submit(self, *, steps: int = 20, priority: int = 0, seed: int = 1, **standin: Any) -> str:
        """Queue a job; its id."""
        job_id = f"job-{next(self._numbers)}"
        spec = {"kind": "train", "steps": steps, "priority": priority, "seed": seed, "device": "auto"}
        self.queue.submit(job_id, spec | {"model": "standin", "standin": standin})
        return job_id

    def start_worker(self, trainer: Sequence[str] = STANDIN) -> subprocess.Popen[bytes]:
        """A worker process like any other, but that its trainers are stand-ins."""
        command = [sys.executable, "-m", "posneg.service.jobs.worker", "--trainer", *trainer]
        with (self.settings.data / "workers.log").open("ab") as log:
            worker = subprocess.Popen(command, env=environment(self.settings), stderr=log)
        self.workers.append(worker)
        return worker

    def job(self, job_id: str) -> dict[str, Any]:
        """The row."""
        return self.queue.get(job_id)[0]

    def states(self, job_id: str) -> list[str]:
        """Every state that a job was in."""
        return [transition["state"] for transition in self.job(job_id)["transitions"]]

    def until(
        self, job_id: str, happens: Callable[[dict[str, Any]], bool], *, after: int = 0
    ) -> dict[str, Any]:
        """Follow a job until the first event for which `happens`."""

        async def wait() -> dict[str, Any]:
            with anyio.fail_after(PATIENCE_S):
                async with aclosing(self.queue.follow(job_id, after)) as batches:
                    async for batch in batches:
                        for event in batch:
                            if happens(event):
                                return event
            raise AssertionError(f"{job_id} ended before that: {self.job(job_id)}")

        return self.portal.call(wait)

    def until_step(self, job_id: str, step: int) -> None:
        """Wait until the loss of a step is told."""
        self.until(job_id, lambda event: event["type"] == "loss" and event["step"] == step)

    def until_state(self, job_id: str, state: str, *, times: int = 1) -> None:
        """Wait until a job has gone to a state so many times."""
        left = count(1)
        self.until(job_id, lambda e: e["type"] == "state" and e["state"] == state and next(left) == times)

    def until_end(self, job_id: str) -> dict[str, Any]:
        """Wait until a job has ended; its row."""
        self.until(job_id, lambda event: event["type"] == "end")
        return self.job(job_id)

    def folder(self, job_id: str) -> Path:
        """The run's folder."""
        return self.settings.runs_folder / job_id

    def go(self, job_id: str) -> None:
        """Let a job that waits go on."""
        self.folder(job_id).mkdir(parents=True, exist_ok=True)
        (self.folder(job_id) / "go").touch()

    def trainer(self, job_id: str) -> int:
        """The process that trains, or did so last."""
        started = lines(self.settings.data / "workers.log")
        return [
            line["pid"] for line in started if line["event"] == "trainer started" and line["job"] == job_id
        ][-1]

    def told(self, job_id: str) -> list[dict[str, Any]]:
        """The events, without what depends on when and where."""
        events = self.queue.events(job_id, 0, 10_000)
        return [
            {name: value for name, value in event.items() if name not in OF_THE_MOMENT}
            for event in events
            if event["type"] != "state"
        ]

    def close(self) -> None:
        """End everything."""
        for worker in self.workers:
            worker.send_signal(signal.SIGCONT)
            worker.terminate()
        for worker in self.workers:
            worker.wait(PATIENCE_S)
        self.portal.call(self.queue.close)
        self.records.close()


def environment(settings: Settings) -> dict[str, str]:
    """What a process with these settings is started with."""
    told = {"DATA": settings.data, "DATABASE": settings.database, "LEASE_S": settings.lease_s}
    return os.environ | {f"POSNEG_{name}": str(value) for name, value in told.items()}


@contextmanager
def opened(data: Path, database: str = "") -> Iterator[Site]:
    """A site on an empty folder and database."""
    settings = Settings(data=data, database=database, lease_s=LEASE_S, worker=False)
    data.mkdir(parents=True, exist_ok=True)
    migrate(settings.database_url)
    with start_blocking_portal() as portal:
        site = Site(settings, portal)
        portal.call(site.queue.start)
        try:
            yield site
        finally:
            site.close()


def alive(pid: int) -> bool:
    """Whether a process runs, zombies aside."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_for(what: Callable[[], bool]) -> None:
    """Wait for something that tells no event."""
    deadline = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


def lines(file: Path) -> list[dict[str, Any]]:
    """A log of JSON lines."""
    return [json.loads(line) for line in file.read_text().splitlines()]
