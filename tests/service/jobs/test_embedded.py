"""The worker process of `posneg serve`: it works, is started again, and never outlives its api."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

from posneg.service.jobs.embedded import EmbeddedWorker, environment
from posneg.service.settings import Settings
from tests.service.jobs.site import STANDIN, Site, alive, wait_for
from tests.service.jobs.site import environment as outer_environment

COMMAND = [sys.executable, "-m", "posneg.service.jobs.worker", "--embedded", "--trainer", *STANDIN]
PARENT = """
import asyncio, sys
from posneg.service.jobs.embedded import EmbeddedWorker
from posneg.service.settings import Settings

async def main():
    worker = EmbeddedWorker(Settings(), sys.argv[1:])
    await worker.start()
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_a_worker_that_dies_is_started_again(site: Site) -> None:
    """kill -9 of the embedded worker: another one is there after a moment, and resumes the job."""
    job_id = site.submit(pause_at=7)
    worker = EmbeddedWorker(site.settings, COMMAND)
    site.portal.call(worker.start)
    site.until_step(job_id, 7)
    first, orphan = worker.pid, int((site.folder(job_id) / "pid").read_text())
    assert first is not None

    os.kill(first, signal.SIGKILL)
    wait_for(lambda: not alive(orphan))
    site.go(job_id)
    site.until_end(job_id)

    assert site.states(job_id) == ["queued", "running", "interrupted", "running", "succeeded"]
    assert worker.pid not in (None, first)
    second = worker.pid
    site.portal.call(worker.close)
    assert worker.pid is None
    assert not alive(second or 0)


def test_a_worker_does_not_outlive_its_api(site: Site) -> None:
    """kill -9 of the api: its worker writes a checkpoint, gives the job back and ends."""
    job_id = site.submit(pause_at=7)
    parent = subprocess.Popen([sys.executable, "-c", PARENT, *COMMAND], env=outer_environment(site.settings))
    site.until_step(job_id, 7)
    [worker] = site.queue.workers()

    parent.kill()
    parent.wait()
    site.until_state(job_id, "interrupted")

    wait_for(lambda: not alive(worker["pid"]))
    assert site.queue.workers() == []
    assert site.job(job_id)["deaths"] == 0
    site.go(job_id)
    site.start_worker()
    assert site.until_end(job_id)["state"] == "succeeded"


def test_settings_reach_the_worker_and_keys_do_not(tmp_path: Path) -> None:
    """A child has the same settings, whether they came by option or variable, but no keys."""
    settings = Settings(data=tmp_path / "data", lease_s=3.5, worker=False, api_keys="secret", device="cpu")

    told = environment(settings)

    assert told["POSNEG_DATA"] == str(tmp_path / "data")
    assert (told["POSNEG_LEASE_S"], told["POSNEG_WORKER"], told["POSNEG_DEVICE"]) == ("3.5", "False", "cpu")
    assert "secret" not in str(told)


def test_closing_before_starting_is_harmless(tmp_path: Path) -> None:
    """A start that failed half-way may still be closed."""
    asyncio.run(EmbeddedWorker(Settings(data=tmp_path)).close())
