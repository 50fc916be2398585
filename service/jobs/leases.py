"""Who works: each worker process has a place of its own on its machine and a row that it keeps fresh.

The place (`host-cpu-0`) is held by a lock on a file, so that a worker that starts there knows that those
before it are dead. The row is held by a lease: whoever does not renew it for `lease_s` is taken for dead,
by the database's clock, and finds that out when it next tries to.
"""

import fcntl
import os
import secrets
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa

from posneg.service.jobs import clock, memory
from posneg.service.jobs.ledger import Row
from posneg.service.jobs.states import AT_WORK
from posneg.service.records import Records, jobs, workers

UP, LEAVING, REAPING = "up", "leaving", "reaping"
MAX_PLACES = 1000
MEASURE_S = 10.0


class Lease:
    """The place and the row of this process, from `take` to `give_up`."""

    def __init__(self, records: Records, folder: Path, device: str) -> None:
        self._records = records
        self.host = socket.gethostname()
        self.device = device
        self.place, self._lock = _free_place(folder, f"{self.host}-{device.replace(':', '')}")
        self.executor = f"{self.place}.{secrets.token_hex(3)}"
        self._folder = _identity(folder)
        self._memory: dict[str, int] = {}
        self._measured_at = float("-inf")

    def predecessors(self) -> list[str]:
        """Executors that had this place: it is held by a lock, so they are dead."""
        here = (self.place, self._folder)
        with self._records.read() as connection:
            rows = connection.execute(sa.select(workers.c.executor, workers.c.details)).all()
        return [row.executor for row in rows if (row.details["place"], row.details["folder"]) == here]

    def take(self) -> None:
        """Become known."""
        with self._records.begin() as connection:
            connection.execute(
                workers.insert().values(
                    executor=self.executor,
                    host=self.host,
                    pid=os.getpid(),
                    device=self.device,
                    state=UP,
                    beat_at=clock.now(),
                    details=self._details(),
                )
            )

    def renew(self, state: str = UP) -> bool:
        """Say that this worker lives; False: it was taken for dead, and its jobs are another's."""
        mine = (workers.c.executor == self.executor, workers.c.state.in_((UP, LEAVING)))
        values = {"beat_at": clock.now(), "state": state, "details": self._details()}
        with self._records.begin() as connection:
            return connection.execute(workers.update().where(*mine).values(values)).rowcount == 1

    def give_up(self) -> None:
        """Free the place for another process."""
        self._lock.close()

    def _details(self) -> dict[str, Any]:
        if time.monotonic() - self._measured_at > MEASURE_S:
            self._memory, self._measured_at = memory.of(self.device), time.monotonic()
        return {"place": self.place, "folder": self._folder, "memory": self._memory}


def expired(connection: sa.Connection, lease_s: float) -> list[str]:
    """Executors that are taken for dead now, each by one caller alone.

    A janitor that died over it is followed by another, later.
    """
    silent = workers.c.state.in_((UP, LEAVING)) & (workers.c.beat_at < clock.now() - lease_s)
    forgotten = (workers.c.state == REAPING) & (workers.c.beat_at < clock.now() - 4 * lease_s)
    return _condemn(connection, silent | forgotten)


def condemn(connection: sa.Connection, executors: Sequence[str]) -> list[str]:
    """Those of `executors` that are known and not condemned by somebody else already."""
    return _condemn(connection, workers.c.executor.in_(executors) & (workers.c.state != REAPING))


def forget(connection: sa.Connection, executor: str) -> None:
    """Drop the row of a dead or leaving worker, whose jobs have been given on."""
    connection.execute(workers.delete().where(workers.c.executor == executor))


def known(connection: sa.Connection) -> list[dict[str, Any]]:
    """Every worker, as the api tells of it."""
    rows = connection.execute(
        sa.select(workers, (clock.now() - workers.c.beat_at).label("age_s"), jobs.c.id.label("current"))
        .outerjoin(jobs, (jobs.c.executor == workers.c.executor) & jobs.c.state.in_(AT_WORK))
        .order_by(workers.c.executor)
    ).mappings()
    return [_shown(dict(row)) for row in rows]


def _shown(row: Row) -> dict[str, Any]:
    return {
        "id": row["executor"],
        "host": row["host"],
        "pid": row["pid"],
        "device": row["device"],
        "memory": row["details"].get("memory", {}),
        "state": row["state"],
        "job": row["current"],
        "heartbeat_at": row["beat_at"],
        "heartbeat_age_s": round(max(0.0, row["age_s"]), 3),
    }


def _condemn(connection: sa.Connection, which: sa.ColumnElement[bool]) -> list[str]:
    doomed = workers.update().where(which).values(state=REAPING, beat_at=clock.now())
    return list(connection.scalars(doomed.returning(workers.c.executor)))


def _free_place(folder: Path, name: str) -> tuple[str, IO[str]]:
    """The first place on this machine that nobody holds, and its lock."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(MAX_PLACES):
        place = f"{name}-{number}"
        lock = (folder / f"{place}.lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        return place, lock
    raise RuntimeError(f"{MAX_PLACES} workers run here already")


def _identity(folder: Path) -> str:
    """A name of the folder itself: two machines may have one host name, but locks count within a folder."""
    file = folder / "identity"
    if not file.exists():
        temporary = folder / f".identity.{secrets.token_hex(4)}"
        temporary.write_text(secrets.token_hex(8))
        with suppress(FileExistsError):
            os.link(temporary, file)
        temporary.unlink()
    return file.read_text()
