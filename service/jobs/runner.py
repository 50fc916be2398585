"""One job from start to end in this worker: a trainer is started, listened to and judged by its end."""

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog

from posneg.service.errors import OutOfMemory, ServiceError, TrainerKilled, TrainingFailed, WorkerFailed
from posneg.service.jobs import failures, ledger, memory
from posneg.service.jobs.child import LOCKED, STOPPED, Child
from posneg.service.jobs.states import State
from posneg.service.records import Records, jobs

log = structlog.get_logger(__name__)
T = TypeVar("T")

LISTEN_S = 0.1
ASK_S = 0.2
LOCKED_S = 1.0
DATABASE_S = 1.0
MAX_TRAINER_DEATHS = 5
MAX_WORKER_DEATHS = 10
MAX_BATCH = 500


class Outcome(StrEnum):
    """How a run ended here, for the queue."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"  # or never to be run
    HANDED_OVER = "handed_over"  # this worker leaves; another is to go on
    LOST = "lost"  # another worker has it already


class Stop(StrEnum):
    """Why a trainer is told to stop."""

    CANCELLED = "cancelled"
    LEAVING = "leaving"
    LOST = "lost"


class Leaving(Exception):
    """The worker leaves and the database does not answer: the lease will tell the others."""


GRACE_S = {Stop.CANCELLED: 1.2, Stop.LEAVING: 10.0, Stop.LOST: 1.0}
"""How long a trainer has for its checkpoint; then it is killed, and the checkpoint before that counts."""


@dataclass(slots=True)
class Attempt:
    """A claimed job as it is run here now."""

    id: str
    number: int
    folder: Path
    told: list[dict[str, Any]] = field(default_factory=list)  # not stored yet
    asked_at: float = 0.0
    standing: State | None = State.RUNNING


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """What one worker needs to run jobs, one after the other."""

    records: Records
    runs_folder: Path
    executor: str
    device: str
    command: Sequence[str]
    environment: Mapping[str, str]
    silence_s: float
    leaving: threading.Event
    idle: threading.Event

    def __call__(self, job_id: str) -> Outcome:
        """Run the job to an end; whatever goes wrong is the job's failure and not the worker's."""
        self.idle.clear()
        try:
            return self._run(job_id)
        except Leaving:
            return Outcome.LOST
        except Exception as error:
            log.exception("job failed in its worker", job=job_id)
            problem = failures.told(WorkerFailed(type(error).__name__), job_id=job_id)
            with self.records.begin() as connection:
                mine = [jobs.c.executor == self.executor]
                values = {"error": problem, "stop_reason": "failed"}
                ledger.move(connection, job_id, State.FAILED, "its worker failed", where=mine, **values)
            return Outcome.FAILED
        finally:
            self.idle.set()

    def _run(self, job_id: str) -> Outcome:
        while True:
            row = self._persist(lambda c: _claimed(c, job_id, self.executor, self.device))
            if row is None:
                return Outcome.CANCELLED
            attempt = Attempt(job_id, row["attempt"], self._prepared(row))
            if row["deaths"] >= MAX_WORKER_DEATHS:
                often = f"{row['deaths']} processes died running it since its last checkpoint"
                return self._failed(attempt, TrainerKilled(often))
            if (outcome := self._attend(attempt)) is not None:
                return outcome

    def _prepared(self, row: ledger.Row) -> Path:
        """The run folder, with what is to be done written down."""
        folder: Path = self.runs_folder / row["id"]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "error.json").unlink(missing_ok=True)
        spec = {"id": row["id"], **row["spec"]}
        if spec.get("device") == "auto":
            spec["device"] = self.device
        temporary = folder / ".spec.json"
        temporary.write_text(json.dumps(spec, indent=2))
        temporary.replace(folder / "spec.json")
        return folder

    def _attend(self, attempt: Attempt) -> Outcome | None:
        """Run a trainer to its end and judge it; None: the job is to be claimed and run again."""
        kills_before = memory.kills()
        stop, status = self._train(attempt)
        while (
            status == LOCKED and stop is None
        ):  # the trainer of a dead worker is writing its last checkpoint
            self.leaving.wait(LOCKED_S)
            stop, status = self._train(attempt)
        if stop is Stop.LOST:
            return Outcome.LOST
        if status == 0:
            return self._succeeded(attempt)
        if stop is Stop.CANCELLED:
            return self._ended(attempt, State.CANCELLED, Outcome.CANCELLED, None, stop_reason="cancelled")
        if stop is Stop.LEAVING:
            return self._ended(attempt, State.INTERRUPTED, Outcome.HANDED_OVER, "its worker was stopped")
        if status < 0 or status == STOPPED:
            return self._killed(attempt, status, out_of_memory=memory.kills() > kills_before)
        unexplained = TrainingFailed(f"the training process ended with status {status}")
        return self._failed(attempt, failures.read(attempt.folder) or unexplained)

    def _train(self, attempt: Attempt) -> tuple[Stop | None, int]:
        """One trainer, from its start to its end."""
        child = Child(self.command, attempt.folder, environment=self.environment, silence_s=self.silence_s)
        log.info("trainer started", job=attempt.id, pid=child.pid, attempt=attempt.number)
        with child:
            stop, status = self._watch(child, attempt)
        log.info("trainer ended", job=attempt.id, status=status, stop=stop)
        return stop, status

    def _watch(self, child: Child, attempt: Attempt) -> tuple[Stop | None, int]:
        """Listen until the trainer has ended; why it was told to stop, if it was, and its exit status."""
        stop: Stop | None = None
        deadline = float("inf")
        while True:
            status = child.status()
            news = child.listen(LISTEN_S)
            attempt.told += news
            self._tell(attempt)
            if status is not None and not news and not attempt.told:
                return stop, status
            if stop is None and (stop := self._why_stop(attempt)) is not None:
                child.ask_to_stop()
                deadline = time.monotonic() + GRACE_S[stop]
            if stop is Stop.LOST and status is not None:
                return stop, status
            if time.monotonic() > deadline:
                child.kill()

    def _tell(self, attempt: Attempt) -> None:
        """Store what the trainer told, and hear what the database says; while it is away, later."""
        now = time.monotonic()
        if not attempt.told and now - attempt.asked_at < ASK_S:
            return
        batch = attempt.told[:MAX_BATCH]
        try:
            if batch:
                with self.records.begin() as connection:
                    attempt.standing = ledger.append(connection, attempt.id, attempt.number, batch)
            else:
                with self.records.read() as connection:
                    attempt.standing = ledger.standing(connection, attempt.id, attempt.number)
        except sa.exc.OperationalError as error:
            log.warning("database does not answer", job=attempt.id, error=str(error.orig))
            if self.leaving.wait(DATABASE_S):
                attempt.standing, attempt.told = None, []
            return
        del attempt.told[: len(batch)]
        attempt.asked_at = now

    def _why_stop(self, attempt: Attempt) -> Stop | None:
        if attempt.standing is None:
            return Stop.LOST
        if attempt.standing is State.CANCELLING:
            return Stop.CANCELLED
        return Stop.LEAVING if self.leaving.is_set() else None

    def _succeeded(self, attempt: Attempt) -> Outcome:
        result = json.loads((attempt.folder / "result.json").read_text())
        reason = result.pop("stop_reason", "completed")
        return self._ended(
            attempt, State.SUCCEEDED, Outcome.SUCCEEDED, None, result=result, stop_reason=reason
        )

    def _failed(self, attempt: Attempt, error: ServiceError) -> Outcome:
        problem = failures.told(error, job_id=attempt.id, log=attempt.folder / "log.txt")
        return self._ended(
            attempt, State.FAILED, Outcome.FAILED, error.detail, error=problem, stop_reason="failed"
        )

    def _killed(self, attempt: Attempt, status: int, *, out_of_memory: bool) -> Outcome | None:
        """A death that nobody asked for: for want of memory it is final, else the checkpoint leads on."""
        if out_of_memory:
            return self._failed(attempt, OutOfMemory("the system ran out of memory and killed it"))
        detail = f"the training process was killed (status {status})"
        row = self._persist(lambda c: _interrupted(c, attempt, detail))
        if row is not None and row["deaths"] >= MAX_TRAINER_DEATHS:
            often = f"{detail}, {row['deaths']} times since its last checkpoint"
            return self._failed(attempt, TrainerKilled(often))
        return None

    def _ended(
        self,
        attempt: Attempt,
        state: State,
        outcome: Outcome,
        detail: str | None,
        **values: Any,  # noqa: ANN401 - columns
    ) -> Outcome:
        mine = [jobs.c.attempt == attempt.number]
        row = self._persist(lambda c: ledger.move(c, attempt.id, state, detail, where=mine, **values))
        return Outcome.LOST if row is None else outcome

    def _persist(self, act: Callable[[sa.Connection], T]) -> T:
        """`act` in a transaction, again and again while the database is away."""
        while True:
            try:
                with self.records.begin() as connection:
                    return act(connection)
            except sa.exc.OperationalError as error:
                log.warning("database does not answer", error=str(error.orig))
                if self.leaving.wait(DATABASE_S):
                    raise Leaving from error


def _claimed(connection: sa.Connection, job_id: str, executor: str, device: str) -> ledger.Row | None:
    return ledger.claim(connection, job_id, executor=executor, detail=f"on {executor}, {device}")


def _interrupted(connection: sa.Connection, attempt: Attempt, detail: str) -> ledger.Row | None:
    mine = [jobs.c.attempt == attempt.number]
    return ledger.move(
        connection, attempt.id, State.INTERRUPTED, detail, where=mine, deaths=jobs.c.deaths + 1
    )
