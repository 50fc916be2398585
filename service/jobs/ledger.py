"""What the database says of jobs: each change of state and each batch of events is one transaction.

A change names the states that it may start from, so two writers never both succeed, and takes the row's lock
first, so that what it reads then cannot change. Writes of a worker carry its attempt: one that lost the job
to another finds no row.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from posneg.service.jobs import clock, events
from posneg.service.jobs.states import AT_WORK, FINAL, WAITING, State, sources
from posneg.service.records import job_events, jobs

Row = dict[str, Any]
ADDING = 0x6A6F6273  # "jobs": whoever adds one on Postgres waits for whoever does so too


def job_of(workflow: str) -> str:
    """The job that a workflow belongs to."""
    return workflow.rpartition(".")[0]


def next_workflow(job_id: str, before: str | None = None) -> str:
    """The workflow after `before`, or a job's first."""
    return f"{job_id}.{int(before.rpartition('.')[2]) + 1 if before else 1}"


def workflows(row: Row) -> list[str]:
    """Every workflow that a job has had."""
    return [f"{row['id']}.{number}" for number in range(1, int(row["workflow"].rpartition(".")[2]) + 1)]


def add(connection: sa.Connection, job_id: str, *, spec: dict[str, Any]) -> Row:
    """A new job, queued."""
    if connection.dialect.name == "postgresql":  # SQLite's transaction is a lock by itself
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(ADDING)))
    after_last = sa.select(sa.func.coalesce(sa.func.max(jobs.c.sequence), 0) + 1).scalar_subquery()
    at = clock.read(connection)
    insert = (
        jobs.insert()
        .values(
            id=job_id,
            sequence=after_last,
            kind=spec["kind"],
            state=State.QUEUED,
            spec=spec,
            created_at=at,
            priority=spec["priority"],
            transitions=[{"state": State.QUEUED, "at": at, "detail": None}],
            progress={},
            metrics={},
            attempt=0,
            deaths=0,
            last_event=1,
            workflow=next_workflow(job_id),
        )
        .returning(jobs)
    )
    row = _row(connection, insert)
    assert row is not None
    _store(connection, job_id, at, [(1, "state:1", _state(State.QUEUED, None))])
    return row


def find(connection: sa.Connection, job_id: str, *, lock: bool = False) -> Row | None:
    """One job; with `lock`, nobody changes it until the transaction ends."""
    wanted = jobs.select().where(jobs.c.id == job_id)
    if lock:
        wanted = wanted.with_for_update()
    return _row(connection, wanted)


def newest(
    connection: sa.Connection, *, before: int | None, state: State | None, limit: int
) -> Sequence[Row]:
    """At most `limit` jobs, the newest first, older than the one whose sequence is `before`."""
    wanted = jobs.select().order_by(jobs.c.sequence.desc()).limit(limit)
    if before is not None:
        wanted = wanted.where(jobs.c.sequence < before)
    if state is not None:
        wanted = wanted.where(jobs.c.state == state)
    return [dict(row) for row in connection.execute(wanted).mappings()]


def positions(connection: sa.Connection) -> dict[str, int]:
    """Waiting job → its place in the queue, 1 for the one that is next."""
    order = sa.select(jobs.c.id).where(jobs.c.state.in_(WAITING))
    rows = connection.scalars(order.order_by(jobs.c.priority.desc(), jobs.c.sequence))
    return {job_id: place for place, job_id in enumerate(rows, 1)}


def move(
    connection: sa.Connection,
    job_id: str,
    target: State,
    detail: str | None = None,
    *,
    where: Sequence[sa.ColumnElement[bool]] = (),
    **values: Any,  # noqa: ANN401 - columns
) -> Row | None:
    """The job after it went to `target`; None, and nothing changed, where it may not from where it is.

    The change is told as an event; a final one is followed by the event `end`, which a resumption takes back.
    """
    told = 2 if target in FINAL else 1
    change = (
        jobs.update()
        .where(jobs.c.id == job_id, jobs.c.state.in_(sources(target)), *where)
        .values(state=target, last_event=jobs.c.last_event + told, **values)
        .returning(jobs)
    )
    row = _row(connection, change)
    if row is None:
        return None
    at = clock.read(connection)
    transitions = [*row["transitions"], {"state": target, "at": at, "detail": detail}]
    connection.execute(jobs.update().where(jobs.c.id == job_id).values(transitions=transitions))
    if target is State.QUEUED:
        ended = (job_events.c.job == job_id, job_events.c.type == "end")
        connection.execute(job_events.delete().where(*ended))
    number = row["last_event"] - told + 1
    news = [(number, f"state:{number}", _state(target, detail))]
    if target in FINAL:
        end = {"type": "end", "state": target, "stop_reason": row["stop_reason"]}
        news.append((number + 1, "end", end))
    _store(connection, job_id, at, news)
    return row


def claim(connection: sa.Connection, job_id: str, *, executor: str, detail: str) -> Row | None:
    """The job, now running here and fenced off from whoever had it before; None where it is not to run.

    The queue gave it to this worker, so whoever has it still is dead or has lost it.
    """
    move(connection, job_id, State.INTERRUPTED, "another worker took it over")
    move(
        connection, job_id, State.CANCELLED, where=[jobs.c.state == State.CANCELLING], stop_reason="cancelled"
    )
    return move(
        connection, job_id, State.RUNNING, detail, executor=executor, attempt=jobs.c.attempt + 1, error=None
    )


def reopen(connection: sa.Connection, row: Row) -> Row | None:
    """The job of `row` (locked), queued again after it had ended; None where its state does not allow it."""
    workflow = next_workflow(row["id"], row["workflow"])
    fresh: dict[str, Any] = {"error": None, "stop_reason": None, "deaths": 0, "workflow": workflow}
    return move(connection, row["id"], State.QUEUED, "resumed by the caller", **fresh)


def renew(connection: sa.Connection, row: Row) -> Row | None:
    """The job of `row` with another workflow; None where it has changed meanwhile."""
    as_seen = (jobs.c.id == row["id"], jobs.c.attempt == row["attempt"], jobs.c.state == row["state"])
    workflow = next_workflow(row["id"], row["workflow"])
    renewed = jobs.update().where(*as_seen).values(workflow=workflow).returning(jobs)
    return _row(connection, renewed)


def standing(connection: sa.Connection, job_id: str, attempt: int) -> State | None:
    """What the job says to the worker that runs it as `attempt`; None: it is not this worker's any more."""
    held = (jobs.c.id == job_id, jobs.c.attempt == attempt, jobs.c.state.in_(AT_WORK))
    state = connection.scalar(sa.select(jobs.c.state).where(*held))
    return None if state is None else State(state)


def append(
    connection: sa.Connection, job_id: str, attempt: int, told: Sequence[dict[str, Any]]
) -> State | None:
    """Store those of `told` that are new, and what they say of progress; answers as `standing` does."""
    held = (jobs.c.id == job_id, jobs.c.attempt == attempt, jobs.c.state.in_(AT_WORK))
    locked = jobs.update().where(*held).values(attempt=attempt).returning(jobs)
    row = _row(connection, locked)
    if row is None:
        return None
    told = [events.finite(event) for event in told]
    by_key = {events.key(event): event for event in told}
    is_known = (job_events.c.job == job_id, job_events.c.key.in_(by_key))
    for known in connection.scalars(sa.select(job_events.c.key).where(*is_known)).all():
        del by_key[known]
    at = clock.read(connection)
    numbered = enumerate(by_key.items(), row["last_event"] + 1)
    _store(connection, job_id, at, [(number, key, event) for number, (key, event) in numbered])
    changed: dict[str, Any] = {
        "last_event": row["last_event"] + len(by_key),
        "progress": events.progress(row["progress"], told),
        "metrics": events.metrics(row["metrics"], told),
    }
    if any(event["type"] == "checkpoint" for event in by_key.values()):
        changed["deaths"] = 0
    connection.execute(jobs.update().where(jobs.c.id == job_id).values(changed))
    return State(row["state"])


def events_after(connection: sa.Connection, job_id: str, number: int, *, limit: int) -> list[dict[str, Any]]:
    """At most `limit` events after the one with `number`, as the api tells them."""
    wanted = job_events.select().where(job_events.c.job == job_id, job_events.c.number > number)
    rows = connection.execute(wanted.order_by(job_events.c.number).limit(limit)).mappings()
    return [row["data"] | {"id": row["number"], "type": row["type"], "at": row["at"]} for row in rows]


def remove(connection: sa.Connection, job_id: str) -> None:
    """Forget a job and its events."""
    connection.execute(job_events.delete().where(job_events.c.job == job_id))
    connection.execute(jobs.delete().where(jobs.c.id == job_id))


def _row(connection: sa.Connection, statement: sa.Executable) -> Row | None:
    row = connection.execute(statement).mappings().one_or_none()
    return None if row is None else dict(row)


def _state(state: State, detail: str | None) -> dict[str, Any]:
    return {"type": "state", "state": state, "detail": detail}


def _store(
    connection: sa.Connection, job_id: str, at: float, news: Sequence[tuple[int, str, dict[str, Any]]]
) -> None:
    """Insert events: number, key and what they say."""
    rows = [
        {
            "job": job_id,
            "number": number,
            "key": key,
            "type": event["type"],
            "at": at,
            "data": {name: value for name, value in event.items() if name != "type"},
        }
        for number, key, event in news
    ]
    if rows:
        connection.execute(job_events.insert(), rows)
