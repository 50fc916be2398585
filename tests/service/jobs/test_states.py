"""The states of a job: which follows which, and that every pair with the queue has an answer."""

from itertools import product

from posneg.service.jobs.states import (
    AT_WORK,
    FINAL,
    FOLLOWERS,
    REPAIRS,
    WAITING,
    Repair,
    State,
    Status,
    sources,
)


def test_every_state_is_of_one_kind() -> None:
    """A job waits, is at work, or has ended."""
    assert sorted([*WAITING, *AT_WORK, *FINAL]) == sorted(State)


def test_sources_and_followers_agree() -> None:
    """`sources` is `FOLLOWERS` read backwards."""
    pairs = {(source, target) for target in State for source in sources(target)}

    assert pairs == {(source, target) for source in State for target in FOLLOWERS[source]}


def test_what_has_ended_goes_on_by_a_resumption_alone() -> None:
    """Only the queue follows an end, and nothing follows success."""
    assert all(FOLLOWERS[state] <= {State.QUEUED} for state in FINAL)
    assert not FOLLOWERS[State.SUCCEEDED]


def test_every_pair_has_a_repair_that_is_allowed() -> None:
    """Whatever the queue and the job say, there is an answer, and it leads along allowed transitions."""
    assert set(REPAIRS) == set(product(Status, State))
    for (_, state), repair in REPAIRS.items():
        if repair in (Repair.INTERRUPT, Repair.REQUEUE):
            assert state in WAITING or State.INTERRUPTED in FOLLOWERS[state]
        if repair is Repair.FAIL:
            assert State.FAILED in FOLLOWERS[state]
        if repair is Repair.CANCEL:
            assert state in WAITING | AT_WORK
        if state in FINAL:
            assert repair is Repair.NONE
