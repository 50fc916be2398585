"""The states of a job, which may follow which, and what each means beside what the queue says."""

from enum import StrEnum


class State(StrEnum):
    """What the api says of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


FINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})
WAITING = frozenset({State.QUEUED, State.INTERRUPTED})
AT_WORK = frozenset({State.RUNNING, State.CANCELLING})

FOLLOWERS: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.RUNNING, State.CANCELLED, State.FAILED}),
    State.RUNNING: frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLING, State.INTERRUPTED}),
    State.INTERRUPTED: frozenset({State.RUNNING, State.CANCELLED, State.FAILED}),
    # a trainer that was done before it heard of the cancellation has succeeded
    State.CANCELLING: frozenset({State.CANCELLED, State.SUCCEEDED, State.FAILED}),
    # by a resumption, from the checkpoint
    State.CANCELLED: frozenset({State.QUEUED}),
    State.FAILED: frozenset({State.QUEUED}),
    State.SUCCEEDED: frozenset(),
}


def sources(target: State) -> tuple[State, ...]:
    """The states from which a job may go to `target`."""
    return tuple(state for state in State if target in FOLLOWERS[state])


class Status(StrEnum):
    """What DBOS says of a job's workflow; `GONE` where it knows of none."""

    ENQUEUED = "ENQUEUED"
    DELAYED = "DELAYED"
    PENDING = "PENDING"
    SUCCESS = "SUCCESS"
    ERROR = "ERROR"
    CANCELLED = "CANCELLED"
    EXHAUSTED = "MAX_RECOVERY_ATTEMPTS_EXCEEDED"
    GONE = "GONE"


class Repair(StrEnum):
    """What puts a job and its workflow right again."""

    NONE = "none"
    REQUEUE = "requeue"  # a new workflow runs the job, which says interrupted if it said running
    INTERRUPT = "interrupt"  # the queue has it already, so the job says interrupted
    CANCEL = "cancel"  # the job says cancelled, and no workflow is left
    FAIL = "fail"  # the job says failed


_OVER = {State.SUCCEEDED: Repair.NONE, State.FAILED: Repair.NONE, State.CANCELLED: Repair.NONE}
_WAITS = {
    State.QUEUED: Repair.NONE,
    State.RUNNING: Repair.INTERRUPT,
    State.INTERRUPTED: Repair.NONE,
    State.CANCELLING: Repair.CANCEL,
    **_OVER,  # the worker that is given it sees that, and withdraws it
}
_CRASHED = {
    State.QUEUED: Repair.FAIL,
    State.RUNNING: Repair.FAIL,
    State.INTERRUPTED: Repair.FAIL,
    State.CANCELLING: Repair.CANCEL,
    **_OVER,
}
_LOST = {
    State.QUEUED: Repair.REQUEUE,
    State.RUNNING: Repair.REQUEUE,
    State.INTERRUPTED: Repair.REQUEUE,
    State.CANCELLING: Repair.CANCEL,
    **_OVER,
}

REPAIRS: dict[tuple[Status, State], Repair] = {
    (status, state): repair
    for status, by_state in {
        Status.ENQUEUED: _WAITS,
        Status.DELAYED: _WAITS,
        # a worker has it: what it says is on its way, and a dead worker is the lease's business
        Status.PENDING: dict.fromkeys(State, Repair.NONE),
        Status.SUCCESS: _LOST,
        # the worker itself failed, and before it could say so
        Status.ERROR: _CRASHED,
        Status.EXHAUSTED: _CRASHED,
        # by the queue's own tools, or by ours just before they died
        Status.CANCELLED: dict.fromkeys((*WAITING, *AT_WORK), Repair.CANCEL) | _OVER,
        Status.GONE: _LOST,
    }.items()
    for state, repair in by_state.items()
}
"""Every pair of what the queue and the job say. Only pairs that last are repaired: each change passes through
others for a moment, since the two are written one after the other."""
