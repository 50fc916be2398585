"""The worker process: takes jobs from the queue, one at a time, and runs each in a process of its own."""

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

import sqlalchemy as sa
import structlog

from posneg.service import logs
from posneg.service.jobs import leases, memory, queue
from posneg.service.jobs.embedded import environment
from posneg.service.jobs.janitor import Janitor
from posneg.service.jobs.leases import Lease
from posneg.service.jobs.runner import Runner
from posneg.service.migrations import migrate
from posneg.service.records import Records, wait_for_database
from posneg.service.settings import Settings

log = structlog.get_logger(__name__)
TRAINER = (sys.executable, "-m", "posneg.service.jobs.trainer")
BEATS_PER_LEASE = 7
GIVE_UP = 0.7  # of the lease without a database: stop before the jobs are given to others
SILENCE = 0.6  # of the lease without a sign of the worker: its trainer stops
STOP_S = 15.0
LEAVING_BEAT_S = 1.0
FAILED, LOST = 1, 3
"""How it ended where it was not told to: something broke; it was taken for dead."""


def run(settings: Settings, *, trainer: Sequence[str] = TRAINER, embedded: bool = False) -> NoReturn:
    """Work until told to stop by a signal or, embedded, by the end of standard input; ends the process.

    A worker that was taken for dead starts anew. `trainer` is the command that trains, for tests.
    """
    logs.configure(settings.log_level)
    status = FAILED
    try:
        status = 0 if _work(settings, trainer, embedded=embedded) else LOST
    except Exception:  # the worker's boundary: threads of the queue would keep a failed process from ending
        log.exception("worker failed")
    sys.stderr.flush()
    if status == LOST:
        told = [*(["--embedded"] if embedded else []), "--trainer", *trainer]
        again = [sys.executable, "-m", "posneg.service.jobs.worker", *told]
        os.execve(sys.executable, again, environment(settings))
    # threads of the queue wait for ever by design, so there is no end to wait for
    os._exit(status)


def _work(settings: Settings, trainer: Sequence[str], *, embedded: bool) -> bool:
    """Work until told to stop; False: this worker was taken for dead."""
    leaving, idle = threading.Event(), threading.Event()
    idle.set()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: leaving.set())
    if embedded:
        threading.Thread(target=_await_end_of_input, args=(leaving,), daemon=True).start()
    wait_for_database(settings.database_url)
    migrate(settings.database_url)
    queue.migrate(settings)
    records = Records(settings.database_url)
    dispatch = queue.Dispatch(settings)
    device = _device(settings)
    lease = Lease(records, settings.data.resolve() / "workers", device)
    janitor = Janitor(records, dispatch, lease_s=settings.lease_s)
    runner = Runner(
        records=records,
        runs_folder=settings.runs_folder.resolve(),
        executor=lease.executor,
        device=device,
        command=trainer,
        environment=environment(settings),
        silence_s=SILENCE * settings.lease_s,
        leaving=leaving,
        idle=idle,
    )
    predecessors = lease.predecessors()
    lease.take()
    janitor.bury(predecessors)
    queue.work(settings, lease.executor, dispatch, runner, leaving)
    log.info("worker ready", executor=lease.executor, device=device)
    held = _hold(lease, janitor, leaving, lease_s=settings.lease_s)
    leaving.set()
    _leave(lease, janitor, idle, held=held)
    return held


def _hold(lease: Lease, janitor: Janitor, leaving: threading.Event, *, lease_s: float) -> bool:
    """Keep the lease until this worker leaves; False: it was lost."""
    renewed_at = time.monotonic()
    while not leaving.wait(lease_s / BEATS_PER_LEASE):
        try:
            if not lease.renew():
                log.error("lease lost", executor=lease.executor)
                return False
            renewed_at = time.monotonic()
            janitor.sweep()
        except sa.exc.OperationalError as error:
            log.warning("database does not answer", error=str(error.orig))
            if time.monotonic() - renewed_at > GIVE_UP * lease_s:
                return False
    return True


def _leave(lease: Lease, janitor: Janitor, idle: threading.Event, *, held: bool) -> None:
    """Let the trainer write its checkpoint, then give the job back to the queue and the place to another."""
    deadline = time.monotonic() + STOP_S
    while not idle.wait(LEAVING_BEAT_S) and time.monotonic() < deadline:
        if held:
            with suppress(sa.exc.OperationalError):
                lease.renew(leases.LEAVING)
    queue.stop_working()
    if held:
        with suppress(sa.exc.OperationalError):
            janitor.reap(lease.executor, "its worker was stopped", death=False)
    lease.give_up()
    log.info("worker left", executor=lease.executor)


def _device(settings: Settings) -> str:
    """The device of this worker's jobs, `auto` resolved."""
    if settings.device != "auto":
        return settings.device
    return "cuda:0" if memory.accelerated() else "cpu"


def _await_end_of_input(leaving: threading.Event) -> None:
    while os.read(0, 4096):
        pass
    leaving.set()


def main() -> None:
    """`python -m posneg.service.jobs.worker`; settings come from the environment."""
    parser = argparse.ArgumentParser(description="Runs queued jobs.")
    parser.add_argument("--embedded", action="store_true", help="stop when standard input ends")
    parser.add_argument("--trainer", nargs=argparse.REMAINDER, default=TRAINER, help=argparse.SUPPRESS)
    told = parser.parse_args()
    run(Settings(), trainer=told.trainer, embedded=told.embedded)


if __name__ == "__main__":
    main()
