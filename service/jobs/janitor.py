"""Puts right what the dead leave behind: jobs of workers that are gone, and rows that the queue contradicts.

Any number of janitors may run, in every worker and every api: each change is claimed by one of them.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import sqlalchemy as sa
import structlog

from posneg.service.errors import WorkerFailed
from posneg.service.jobs import failures, leases, ledger
from posneg.service.jobs.states import AT_WORK, FINAL, REPAIRS, Repair, State
from posneg.service.records import Records, jobs, workers

if TYPE_CHECKING:
    from posneg.service.jobs.queue import Dispatch

log = structlog.get_logger(__name__)
Sighting = tuple[str, str, State, int]  # job, what the queue says, what the job says, its attempt


class Janitor:
    """Sweeps again and again; a contradiction is put right when it is seen a second time."""

    def __init__(self, records: Records, dispatch: "Dispatch", *, lease_s: float) -> None:
        self._records = records
        self._dispatch = dispatch
        self._lease_s = lease_s
        self._seen: set[Sighting] = set()

    def sweep(self) -> None:
        """Once around: the dead first, then the contradictions."""
        with self._records.begin() as connection:
            dead = leases.expired(connection, self._lease_s)
        for executor in dead:
            self.reap(executor, "its worker died")
        self._repair()

    def bury(self, executors: Iterable[str]) -> None:
        """Reap workers that are known to be dead before their leases end."""
        with self._records.begin() as connection:
            dead = leases.condemn(connection, list(executors))
        for executor in dead:
            self.reap(executor, "its worker died")

    def reap(self, executor: str, detail: str, *, death: bool = True) -> None:
        """Give the jobs of a worker that is gone back to the queue, and forget the worker."""
        for workflow in self._dispatch.held_by(executor):
            self._give_back(workflow)
        theirs = (jobs.c.executor == executor, jobs.c.state.in_(AT_WORK))
        with self._records.begin() as connection:
            for job_id in connection.scalars(sa.select(jobs.c.id).where(*theirs)).all():
                deaths = jobs.c.deaths + int(death)
                ledger.move(connection, job_id, State.INTERRUPTED, detail, where=theirs, deaths=deaths)
                ledger.move(
                    connection, job_id, State.CANCELLED, detail, where=theirs, stop_reason="cancelled"
                )
            leases.forget(connection, executor)
        log.info("worker reaped", executor=executor, detail=detail)

    def _give_back(self, workflow: str) -> None:
        with self._records.read() as connection:
            row = ledger.find(connection, ledger.job_of(workflow))
        if row is None or row["state"] in FINAL or row["state"] == State.CANCELLING:
            self._dispatch.withdraw(workflow)
        else:
            self._dispatch.requeue(workflow)

    def _repair(self) -> None:
        open_states = [state for state in State if state not in FINAL]
        with self._records.read() as connection:
            unfinished = jobs.select().where(jobs.c.state.in_(open_states))
            rows = [dict(row) for row in connection.execute(unfinished).mappings()]
        if not rows:
            self._seen = set()
            return
        statuses = self._dispatch.statuses([row["workflow"] for row in rows])
        seen: set[Sighting] = set()
        for row in rows:
            status, state = statuses[row["workflow"]], State(row["state"])
            repair = REPAIRS[status, state]
            sighting = (row["id"], status, state, row["attempt"])
            if repair is Repair.NONE:
                continue
            if sighting in self._seen:
                log.warning("job repaired", job=row["id"], queue=status, state=state, repair=repair)
                self._apply(repair, row)
            seen.add(sighting)
        self._seen = seen

    def _apply(self, repair: Repair, row: ledger.Row) -> None:
        job_id, as_seen = row["id"], [jobs.c.attempt == row["attempt"], jobs.c.state == row["state"]]
        with self._records.begin() as connection:
            if repair is Repair.REQUEUE and (renewed := ledger.renew(connection, row)) is not None:
                self._dispatch.enqueue(connection, renewed)
            if repair in (Repair.INTERRUPT, Repair.REQUEUE):
                ledger.move(connection, job_id, State.INTERRUPTED, "the queue lost it", where=as_seen)
            if repair is Repair.FAIL:
                problem = failures.told(WorkerFailed("its worker could not run it"), job_id=job_id)
                values = {"error": problem, "stop_reason": "failed"}
                ledger.move(connection, job_id, State.FAILED, "its worker failed", where=as_seen, **values)
            if repair is Repair.CANCEL:
                _cancel(connection, row)
        if repair is Repair.CANCEL:
            self._dispatch.withdraw(row["workflow"])


def _cancel(connection: sa.Connection, row: ledger.Row) -> None:
    """The job says cancelled; while a living worker has it, cancelling, and the worker does the rest."""
    as_seen = [jobs.c.attempt == row["attempt"]]
    ledger.move(connection, row["id"], State.CANCELLING, "cancelled in the queue", where=as_seen)
    is_its_worker = workers.c.executor == row["executor"]
    if row["state"] in AT_WORK and connection.scalar(sa.select(workers.c.executor).where(is_its_worker)):
        return
    values = {"where": as_seen, "stop_reason": "cancelled"}
    ledger.move(connection, row["id"], State.CANCELLED, "cancelled in the queue", **values)
