"""The queue, with real workers on both databases: each job once, in order, cancelled, resumed, forgotten."""

import json

import pytest

from posneg.service.errors import Conflict, NotFound
from tests.service.jobs.site import Site, alive, lines, wait_for


def test_a_job_runs_to_its_end(staffed: Site) -> None:
    """Queued, running, succeeded; every event of the trainer is told once, in order, and then the end."""
    job_id = staffed.submit(steps=10)

    row = staffed.until_end(job_id)

    assert staffed.states(job_id) == ["queued", "running", "succeeded"]
    assert row["stop_reason"] == "completed"
    assert row["result"]["map50"] == 0.75
    assert row["progress"]["step"] == row["progress"]["steps"] == 10
    assert row["metrics"]["loss"]["terms"]["box"]["negative"] is None  # not finite, so no JSON number
    told = [(event["type"], event.get("step")) for event in staffed.told(job_id)]
    losses = [("loss", step) for step in range(1, 11)]
    marks = [[("metrics", step), ("checkpoint", step)] for step in (5, 10)]
    assert told == [("log", 0), *losses[:5], *marks[0], *losses[5:], *marks[1], ("end", None)]
    numbers = [event["id"] for event in staffed.queue.events(job_id, 0, 1000)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_two_workers_run_each_job_once(empty: Site) -> None:
    """Two workers at one database work at the same time, and no job is run twice."""
    first, second = empty.submit(pause_at=3), empty.submit(pause_at=3)
    others = [empty.submit() for _ in range(8)]
    empty.start_worker()
    empty.start_worker()
    empty.until_step(first, 3)
    empty.until_step(second, 3)
    empty.go(first)
    empty.go(second)

    rows = [empty.until_end(job_id) for job_id in (first, second, *others)]

    assert [row["state"] for row in rows] == ["succeeded"] * 10
    assert [row["attempt"] for row in rows] == [1] * 10
    assert rows[0]["executor"] != rows[1]["executor"]


def test_a_higher_priority_runs_first(empty: Site) -> None:
    """Of waiting jobs the one with the higher priority is next, and of equals the older one."""
    jobs = [empty.submit(priority=priority) for priority in (-100, 0, 100, 0)]
    assert [empty.queue.get(job_id)[1] for job_id in jobs] == [4, 2, 1, 3]
    empty.start_worker()

    rows = [empty.until_end(job_id) for job_id in jobs]

    began = [row["transitions"][1]["at"] for row in rows]
    assert sorted(range(4), key=began.__getitem__) == [2, 1, 3, 0]
    assert empty.queue.get(jobs[0])[1] is None


@pytest.mark.parametrize("deaf", [False, True])
def test_cancelled_is_dead_within_two_seconds(staffed: Site, deaf: bool) -> None:
    """A cancelled job's trainer is dead within 2 s, even one that does not listen; its checkpoint is kept."""
    job_id = staffed.submit(pause_at=7, deaf=deaf)
    staffed.until_step(job_id, 7)

    staffed.queue.cancel(job_id)
    staffed.until_state(job_id, "cancelled")

    assert not alive(staffed.trainer(job_id))
    at = {transition["state"]: transition["at"] for transition in staffed.job(job_id)["transitions"]}
    assert at["cancelled"] - at["cancelling"] < 2
    assert json.loads((staffed.folder(job_id) / "checkpoint.json").read_text())["step"] == (5 if deaf else 7)
    assert staffed.job(job_id)["stop_reason"] == "cancelled"


def test_resumed_equals_untouched(staffed: Site) -> None:
    """A job that was cancelled and resumed has the events, metrics and result of one that was left alone."""
    untouched, job_id = staffed.submit(seed=4), staffed.submit(seed=4, pause_at=7)
    staffed.until_step(job_id, 7)
    staffed.queue.cancel(job_id)
    staffed.until_end(job_id)
    staffed.go(job_id)

    staffed.queue.resume(job_id)
    row = staffed.until_end(job_id)

    assert row["state"] == "succeeded"
    assert staffed.states(job_id)[2:5] == ["cancelling", "cancelled", "queued"]
    assert staffed.told(job_id) == staffed.told(untouched)
    assert row["result"] == staffed.job(untouched)["result"]
    assert "starts at step 7" in (staffed.folder(job_id) / "log.txt").read_text()


def test_a_waiting_job_is_cancelled_at_once(empty: Site) -> None:
    """A job that nobody runs needs no worker to be cancelled, and no worker runs it afterwards."""
    job_id = empty.submit()

    assert empty.queue.cancel(job_id)["state"] == "cancelled"
    empty.queue.cancel(job_id)  # again: it is so already

    later = empty.submit()
    empty.start_worker()
    empty.until_end(later)
    assert empty.states(job_id) == ["queued", "cancelled"]


def test_a_running_job_is_not_deleted(staffed: Site) -> None:
    """Deleting is refused while a job runs; afterwards nothing is left of it, not even in the queue."""
    job_id = staffed.submit(pause_at=2)
    staffed.until_step(job_id, 2)
    with pytest.raises(Conflict, match="running"):
        staffed.queue.delete(job_id)
    staffed.queue.cancel(job_id)
    staffed.until_end(job_id)

    staffed.queue.delete(job_id)

    with pytest.raises(NotFound):
        staffed.queue.get(job_id)
    assert not staffed.folder(job_id).exists()


def test_what_has_succeeded_stays_so(staffed: Site) -> None:
    """A job that has succeeded is neither cancelled nor resumed."""
    job_id = staffed.submit(steps=1)
    staffed.until_end(job_id)

    with pytest.raises(Conflict, match="succeeded"):
        staffed.queue.cancel(job_id)
    with pytest.raises(Conflict, match="succeeded"):
        staffed.queue.resume(job_id)


def test_submitting_twice_under_one_id_makes_one_job(empty: Site) -> None:
    """The id is the job: a second submission after a crash finds the first one."""
    spec = {"kind": "train", "steps": 1, "priority": 0, "seed": 1, "device": "auto", "model": "m"}

    first, second = empty.queue.submit("same", spec), empty.queue.submit("same", spec)

    assert first == second
    assert len(empty.queue.newest(before=None, state=None, limit=10)) == 1


def test_a_worker_that_is_stopped_hands_its_job_over(empty: Site) -> None:
    """SIGTERM: the trainer writes a checkpoint, and the next worker goes on, without waiting for a lease."""
    job_id = empty.submit(pause_at=7)
    worker = empty.start_worker()
    empty.until_step(job_id, 7)

    worker.terminate()
    assert worker.wait(30) == 0
    wait_for(lambda: empty.queue.workers() == [])
    empty.go(job_id)
    empty.start_worker()

    assert empty.until_end(job_id)["state"] == "succeeded"
    assert empty.states(job_id) == ["queued", "running", "interrupted", "running", "succeeded"]
    assert empty.job(job_id)["deaths"] == 0
    assert "error" not in {line["level"] for line in lines(empty.settings.data / "workers.log")}
