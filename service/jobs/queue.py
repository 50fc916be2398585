"""The durable queue: every call of DBOS is here. It decides who runs what; the table `jobs` what is told.

A workflow is one time in the queue; a job that is resumed after it has ended gets another one. Its id is the
job's with a number, and it has no input: what is to be done stands in the table.
"""

import asyncio
import logging
import shutil
import threading
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import suppress
from typing import Any

import sqlalchemy as sa
import structlog
from anyio.to_thread import run_sync
from dbos import DBOS, DBOSClient, DBOSConfig, DBOSPortableJSONSerializer

from posneg.service.errors import Conflict, NotFound
from posneg.service.jobs import leases, ledger
from posneg.service.jobs.embedded import EmbeddedWorker
from posneg.service.jobs.janitor import Janitor
from posneg.service.jobs.runner import Outcome
from posneg.service.jobs.states import AT_WORK, FINAL, WAITING, State, Status
from posneg.service.jobs.tails import Event, Tails
from posneg.service.records import Records
from posneg.service.settings import Settings

APPLICATION = "posneg"
QUEUE = "train"
WORKFLOW = "train"
VERSION = "1"
"""Of the order of steps in the workflow; raised only when that changes: workers run no other version."""
POLL_S = 0.25
FIRST_PRIORITY = 101
"""DBOS takes small numbers first, from 1; ours are -100 to 100, higher first."""
SWEEPS_PER_LEASE = 5
PAGE = 1000
log = structlog.get_logger(__name__)
# DBOS's own default is pickle: whoever can write to the database could run code here
SERIALIZER = DBOSPortableJSONSerializer()


def migrate(settings: Settings) -> None:
    """Create or update DBOS's tables; before the api or a worker starts, any number of times."""
    _tame_log()
    DBOS.migrate(settings.database_url)


class Dispatch:
    """The queue as the api and the janitor use it: a client, which runs nothing itself."""

    def __init__(self, settings: Settings) -> None:
        _tame_log()
        self._client = DBOSClient(
            system_database_url=settings.database_url, application_name=APPLICATION, serializer=SERIALIZER
        )

    def enqueue(self, connection: sa.Connection, job: ledger.Row) -> None:
        """Put a job into the queue, in the transaction that says so in its row."""
        options: Any = {
            "workflow_name": WORKFLOW,
            "queue_name": QUEUE,
            "workflow_id": job["workflow"],
            "app_version": VERSION,
            "priority": FIRST_PRIORITY - job["priority"],
        }
        self._client.enqueue_in_transaction(connection, options)

    def requeue(self, workflow: str) -> None:
        """Give a workflow that nobody runs any more back to the queue; nothing where it has ended."""
        self._client.resume_workflow(workflow, queue_name=QUEUE)

    def withdraw(self, workflow: str) -> None:
        """Take a workflow out of the queue; nothing where it has ended."""
        self._client.cancel_workflow(workflow)

    def forget(self, workflows: Iterable[str]) -> None:
        """Drop all that DBOS keeps of workflows."""
        self._client.delete_workflows(list(workflows))

    def held_by(self, executor: str) -> list[str]:
        """The workflows that this executor took and has not finished."""
        held = self._client.list_workflows(
            name=WORKFLOW, status="PENDING", executor_id=executor, load_input=False, load_output=False
        )
        return [workflow.workflow_id for workflow in held]

    def statuses(self, workflows: list[str]) -> dict[str, Status]:
        """Workflow → what DBOS says of it."""
        known = self._client.list_workflows(workflow_ids=workflows, load_input=False, load_output=False)
        told = {workflow.workflow_id: Status(workflow.status) for workflow in known}
        return {workflow: told.get(workflow, Status.GONE) for workflow in workflows}

    def offer_queue(self) -> None:
        """Have the queue known to workers: one job at a time each."""
        self._client.register_queue(QUEUE, worker_concurrency=1, polling_interval_sec=POLL_S)

    def close(self) -> None:
        """Close every connection."""
        self._client.destroy()


class JobFailed(Exception):
    """Tells DBOS that a workflow failed; why is in the job's row."""


def work(
    settings: Settings,
    executor: str,
    dispatch: Dispatch,
    run: Callable[[str], Outcome],
    leaving: threading.Event,
) -> None:
    """Take jobs from the queue as `executor`, one at a time, in threads; returns at once."""

    @DBOS.step(name=WORKFLOW)
    def step(workflow: str) -> str:
        outcome = Outcome.HANDED_OVER if leaving.is_set() else run(ledger.job_of(workflow))
        if leaving.is_set() and outcome in (Outcome.HANDED_OVER, Outcome.LOST):
            # never return: the workflow stays with this executor until its place is given up as a whole
            threading.Event().wait()
        if outcome is Outcome.CANCELLED:
            dispatch.withdraw(workflow)
        if outcome is Outcome.FAILED:
            raise JobFailed(workflow)
        return outcome

    @DBOS.workflow(name=WORKFLOW)
    def workflow() -> str:
        assert DBOS.workflow_id is not None
        return step(DBOS.workflow_id)

    dispatch.offer_queue()
    config: DBOSConfig = {
        "name": APPLICATION,
        "system_database_url": settings.database_url,
        "executor_id": executor,
        "application_version": VERSION,
        "serializer": SERIALIZER,
        "log_level": "CRITICAL",
        "run_migrations": False,
        "notification_listener_polling_interval_sec": 0.5,  # nothing is listened to, but a stop waits for it
        "scheduler_polling_interval_sec": 3600.0,
    }
    DBOS(config=config)
    DBOS.listen_queues([QUEUE])
    DBOS.launch()


def stop_working() -> None:
    """Take no more jobs; does not wait for any."""
    DBOS.destroy(workflow_completion_timeout_sec=0)


def _tame_log() -> None:
    """Keep DBOS from a console handler of its own: its records go where ours go."""
    logger = logging.getLogger("dbos")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    logger.setLevel(logging.ERROR)


class JobQueue:
    """Jobs as the api sees them. All but `start`, `close` and `follow` block: call them from threads."""

    def __init__(self, settings: Settings, records: Records) -> None:
        self._settings = settings
        self._records = records
        self._tails = Tails(self._news)
        self._worker = EmbeddedWorker(settings) if settings.worker else None
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect, keep an eye on the workers, and start one of our own where the settings say so."""
        await run_sync(migrate, self._settings)
        self._dispatch = await run_sync(Dispatch, self._settings)
        self._sweeping = asyncio.create_task(self._sweep())
        if self._worker is not None:
            await self._worker.start()

    async def close(self) -> None:
        """End every stream, stop our own worker, and disconnect."""
        await self._tails.close()
        if self._sweeping is not None:
            self._sweeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._sweeping
        if self._worker is not None:
            await self._worker.close()
        await run_sync(self._dispatch.close)

    def end_streams(self) -> None:
        """Let callers who follow a job go; from any thread or signal handler."""
        self._tails.end()

    def submit(self, job_id: str, spec: dict[str, Any]) -> ledger.Row:
        """Queue a job; one that is there already under this id is left as it is."""
        with self._records.begin() as connection:
            if (known := ledger.find(connection, job_id)) is not None:
                return known
            row = ledger.add(connection, job_id, spec=spec)
            self._dispatch.enqueue(connection, row)
            return row

    def get(self, job_id: str) -> tuple[ledger.Row, int | None]:
        """One job, and its place among those that wait."""
        with self._records.read() as connection:
            row = _found(ledger.find(connection, job_id), job_id)
            place = ledger.positions(connection).get(job_id) if row["state"] in WAITING else None
        return row, place

    def newest(
        self, *, before: int | None, state: State | None, limit: int
    ) -> list[tuple[ledger.Row, int | None]]:
        """Jobs with their places, the newest first, older than the one whose sequence is `before`."""
        with self._records.read() as connection:
            rows = ledger.newest(connection, before=before, state=state, limit=limit)
            places = ledger.positions(connection)
        return [(row, places.get(row["id"])) for row in rows]

    def cancel(self, job_id: str) -> ledger.Row:
        """End a job: at once where it waits, by its worker where it runs. Its checkpoint is kept."""
        with self._records.begin() as connection:
            row = _found(ledger.find(connection, job_id, lock=True), job_id)
            if row["state"] in FINAL - {State.CANCELLED}:
                raise Conflict(f"the job has {row['state']} already; there is nothing to cancel")
            target = State.CANCELLED if row["state"] in WAITING else State.CANCELLING
            reason = "cancelled" if target is State.CANCELLED else None
            moved = ledger.move(connection, job_id, target, "by the caller", stop_reason=reason)
        if target is State.CANCELLED:
            self._dispatch.withdraw(row["workflow"])
        return moved or row

    def resume(self, job_id: str) -> ledger.Row:
        """Queue a job again that was cancelled or failed; it goes on from its checkpoint."""
        with self._records.begin() as connection:
            row = _found(ledger.find(connection, job_id, lock=True), job_id)
            if row["state"] == State.INTERRUPTED:
                return row
            reopened = ledger.reopen(connection, row)
            if reopened is None:
                raise Conflict(f"the job is {row['state']}; only one that was cancelled or failed is resumed")
            self._dispatch.enqueue(connection, reopened)
            return reopened

    def delete(self, job_id: str) -> None:
        """Forget a job and all its files, but not the model that it published."""
        with self._records.begin() as connection:
            row = _found(ledger.find(connection, job_id, lock=True), job_id)
            if row["state"] in AT_WORK:
                raise Conflict(f"the job is {row['state']}; cancel it first, and wait until it is cancelled")
            ledger.remove(connection, job_id)
        self._dispatch.forget(ledger.workflows(row))
        shutil.rmtree(self._settings.runs_folder / job_id, ignore_errors=True)

    def events(self, job_id: str, after: int, limit: int) -> list[Event]:
        """At most `limit` events after the one with number `after`."""
        with self._records.read() as connection:
            _found(ledger.find(connection, job_id), job_id)
            return ledger.events_after(connection, job_id, after, limit=limit)

    def start_of_stream(self, job_id: str, after: int) -> int:
        """Where a stream begins that is to go on after `after`, so that it comes to the event `end`."""
        with self._records.read() as connection:
            row = _found(ledger.find(connection, job_id), job_id)
        last: int = row["last_event"]
        return min(after, last - 1 if row["state"] in FINAL else last)

    def workers(self) -> list[dict[str, Any]]:
        """Every worker that is known."""
        with self._records.read() as connection:
            return leases.known(connection)

    def follow(self, job_id: str, after: int) -> AsyncGenerator[list[Event], None]:
        """The events after `after` as they come, until the job has ended; empty lists are heartbeats."""
        return self._tails.follow(job_id, after)

    def _news(self, job_id: str, after: int) -> list[Event] | None:
        with self._records.read() as connection:
            events = ledger.events_after(connection, job_id, after, limit=PAGE)
            return events if events or ledger.find(connection, job_id) is not None else None

    async def _sweep(self) -> None:
        janitor = Janitor(self._records, self._dispatch, lease_s=self._settings.lease_s)
        while True:
            await asyncio.sleep(self._settings.lease_s / SWEEPS_PER_LEASE)
            try:
                await run_sync(janitor.sweep)
            except sa.exc.OperationalError as error:
                log.warning("database does not answer", error=str(error.orig))


def _found(row: ledger.Row | None, job_id: str) -> ledger.Row:
    if row is None:
        raise NotFound(f"there is no job {job_id!r}; GET /v1/jobs lists them")
    return row
