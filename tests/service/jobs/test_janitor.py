"""Jobs and queue that contradict one another, as after a crash between two writes: put right, seen twice."""

from collections.abc import Iterator

import pytest

from posneg.service.jobs import ledger
from posneg.service.jobs.janitor import Janitor
from posneg.service.jobs.queue import Dispatch
from posneg.service.jobs.states import State, Status
from posneg.service.records import jobs
from tests.service.jobs.site import Site


@pytest.fixture
def dispatch(empty: Site) -> Iterator[Dispatch]:
    """The queue."""
    dispatch = Dispatch(empty.settings)
    yield dispatch
    dispatch.close()


@pytest.fixture
def janitor(empty: Site, dispatch: Dispatch) -> Janitor:
    """One that sweeps when it is told to."""
    return Janitor(empty.records, dispatch, lease_s=1000.0)


def _sweep_twice(janitor: Janitor) -> None:
    janitor.sweep()
    janitor.sweep()


def _claim(site: Site, job_id: str) -> None:
    """As a worker that is gone without a trace had it."""
    with site.records.begin() as connection:
        assert ledger.claim(connection, job_id, executor="gone", detail="there") is not None


def test_a_job_that_the_queue_lost_is_queued_again(empty: Site, dispatch: Dispatch, janitor: Janitor) -> None:
    """Waiting or running, a job without a workflow gets another one, and runs to its end."""
    waiting, running = empty.submit(), empty.submit()
    _claim(empty, running)
    dispatch.forget([f"{waiting}.1", f"{running}.1"])

    _sweep_twice(janitor)

    assert dispatch.statuses([f"{waiting}.2"]) == {f"{waiting}.2": Status.ENQUEUED}
    assert empty.states(running) == ["queued", "running", "interrupted"]
    empty.start_worker()
    assert [empty.until_end(job_id)["state"] for job_id in (waiting, running)] == ["succeeded"] * 2


def test_what_the_queue_cancelled_is_cancelled(empty: Site, dispatch: Dispatch, janitor: Janitor) -> None:
    """A workflow that was cancelled with the queue's own tools takes its job along."""
    waiting, cancelling = empty.submit(), empty.submit()
    _claim(empty, cancelling)
    empty.queue.cancel(cancelling)
    for job_id in (waiting, cancelling):
        dispatch.withdraw(f"{job_id}.1")

    _sweep_twice(janitor)

    assert empty.job(waiting)["state"] == empty.job(cancelling)["state"] == "cancelled"
    assert empty.job(waiting)["stop_reason"] == "cancelled"


def test_a_job_at_work_that_is_queued_too_is_interrupted(empty: Site, janitor: Janitor) -> None:
    """The queue will give it to a worker, so nobody has it."""
    job_id = empty.submit()
    _claim(empty, job_id)

    _sweep_twice(janitor)

    assert empty.job(job_id)["state"] == "interrupted"


def test_once_is_no_reason_to_act(empty: Site, janitor: Janitor) -> None:
    """Between two writes a job and its workflow differ for a moment: only what lasts is put right."""
    job_id = empty.submit()
    _claim(empty, job_id)

    janitor.sweep()

    assert empty.job(job_id)["state"] == "running"


def test_what_agrees_is_left_alone(empty: Site, janitor: Janitor) -> None:
    """Jobs that wait, and jobs that have ended, are not touched."""
    waiting, ended = empty.submit(), empty.submit()
    empty.queue.cancel(ended)
    before = empty.job(waiting), empty.job(ended)

    _sweep_twice(janitor)

    assert (empty.job(waiting), empty.job(ended)) == before


def test_a_crash_in_the_middle_of_reaping_is_made_good(empty: Site, janitor: Janitor) -> None:
    """A job whose dead worker is known is given back, also by a janitor that comes later."""
    job_id = empty.submit()
    _claim(empty, job_id)

    janitor.reap("gone", "its worker died")
    janitor.reap("gone", "its worker died")

    assert empty.states(job_id) == ["queued", "running", "interrupted"]
    with empty.records.read() as connection:
        assert connection.scalar(jobs.select().with_only_columns(jobs.c.deaths)) == 1
    assert State(empty.job(job_id)["state"]) is State.INTERRUPTED
