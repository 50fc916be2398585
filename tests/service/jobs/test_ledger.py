"""The table of jobs: one writer wins, lost workers write nothing, events are stored once."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posneg.service.jobs import ledger
from posneg.service.jobs.states import FINAL, FOLLOWERS, State
from posneg.service.migrations import migrate
from posneg.service.records import Records

SPEC: dict[str, Any] = {"kind": "train", "priority": 0}


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Records]:
    """An empty database."""
    url = f"sqlite:///{tmp_path_factory.mktemp('records') / 'records.sqlite'}"
    migrate(url)
    records = Records(url)
    yield records
    records.close()


def _running(records: Records) -> ledger.Row:
    with records.begin() as connection:
        number = len(ledger.newest(connection, before=None, state=None, limit=10_000))
        ledger.add(connection, f"job-{number}", spec=SPEC)
        row = ledger.claim(connection, f"job-{number}", executor="me", detail="here")
    assert row is not None
    return row


@given(st.lists(st.sampled_from(State), max_size=12))
def test_only_allowed_transitions_happen(records: Records, targets: list[State]) -> None:
    """Whatever is asked for, the states that a job goes through follow one another as they may."""
    job_id = _running(records)["id"]
    with records.begin() as connection:
        for target in targets:
            ledger.move(connection, job_id, target)
        row = ledger.find(connection, job_id)
        told = ledger.events_after(connection, job_id, 0, limit=100)

    assert row is not None
    states = [State(transition["state"]) for transition in row["transitions"]]
    assert all(then in FOLLOWERS[first] for first, then in pairwise(states))
    assert [event["state"] for event in told if event["type"] == "state"] == states
    assert [event["type"] for event in told].count("end") == (row["state"] in FINAL)
    assert all(first["id"] < then["id"] <= row["last_event"] for first, then in pairwise(told))


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=6))
def test_events_told_again_are_stored_once(records: Records, pieces: list[tuple[int, int]]) -> None:
    """However a trainer goes back, the stored steps are those of a run that never did, in order."""
    row = _running(records)
    reached = 0
    for back, ahead in pieces:
        start = max(0, reached - back)
        told = [{"type": "loss", "step": step, "total": float(step)} for step in range(start, start + ahead)]
        with records.begin() as connection:
            assert ledger.append(connection, row["id"], row["attempt"], told) is State.RUNNING
        reached = max(reached, start + ahead)

    with records.begin() as connection:
        stored = ledger.events_after(connection, row["id"], 0, limit=1000)
    assert [event["step"] for event in stored if event["type"] == "loss"] == list(range(reached))


def test_a_worker_that_lost_its_job_writes_nothing(records: Records) -> None:
    """Another attempt, or another state, and what a worker tells is refused."""
    row = _running(records)
    told = [{"type": "loss", "step": 1}]
    with records.begin() as connection:
        ledger.move(connection, row["id"], State.INTERRUPTED)
        assert ledger.append(connection, row["id"], row["attempt"], told) is None
        assert ledger.claim(connection, row["id"], executor="another", detail="there") is not None
        assert ledger.append(connection, row["id"], row["attempt"], told) is None
        assert ledger.standing(connection, row["id"], row["attempt"]) is None
        assert ledger.append(connection, row["id"], row["attempt"] + 1, told) is State.RUNNING


def test_a_number_is_never_given_twice(records: Records) -> None:
    """The `end` of a job that is resumed is taken back, but a caller who saw it misses nothing after it."""
    row = _running(records)
    with records.begin() as connection:
        ended = ledger.move(connection, row["id"], State.FAILED, "so")
        assert ended is not None
        ledger.reopen(connection, ended)
        told = ledger.events_after(connection, row["id"], 0, limit=100)
        missed = ledger.events_after(connection, row["id"], ended["last_event"], limit=100)

    assert "end" not in [event["type"] for event in told]
    assert [event["state"] for event in missed] == ["queued"]


def test_pages_are_stable(records: Records, tmp_path: Path) -> None:
    """A job that is added between two pages neither repeats nor hides another."""
    ids = [_running(records)["id"] for _ in range(4)]
    with records.begin() as connection:
        first = ledger.newest(connection, before=None, state=None, limit=2)
    _running(records)
    with records.begin() as connection:
        second = ledger.newest(connection, before=first[-1]["sequence"], state=None, limit=2)

    assert [row["id"] for row in [*first, *second]] == ids[::-1]
