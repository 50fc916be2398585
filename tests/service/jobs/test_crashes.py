"""What is killed or frozen: the job goes on from its checkpoint by itself, as if nothing had happened."""

import json
import os
import signal

from tests.service.jobs.site import Site, alive, wait_for

RESUMED = ["queued", "running", "interrupted", "running", "succeeded"]


def test_a_killed_worker_costs_nothing(staffed: Site) -> None:
    """kill -9 of the worker: its successor resumes the job at once; the events equal an untouched run's."""
    untouched, job_id = staffed.submit(seed=2), staffed.submit(seed=2, pause_at=13)
    staffed.until_step(job_id, 13)
    orphan = staffed.trainer(job_id)

    staffed.workers[-1].kill()
    staffed.workers[-1].wait()
    wait_for(lambda: not alive(orphan))  # it heard the end of its input
    staffed.go(job_id)
    staffed.start_worker()
    row = staffed.until_end(job_id)

    assert staffed.states(job_id) == RESUMED
    assert row["attempt"] == 2
    assert staffed.told(job_id) == staffed.told(untouched)
    assert row["result"] == staffed.job(untouched)["result"]
    log = (staffed.folder(job_id) / "log.txt").read_text()
    assert log.splitlines() == ["starts at step 0", "starts at step 13"]


def test_a_killed_trainer_costs_nothing(staffed: Site) -> None:
    """kill -9 of the trainer: its worker starts another one, from the checkpoint before."""
    untouched, job_id = staffed.submit(seed=3), staffed.submit(seed=3, pause_at=13)
    staffed.until_step(job_id, 13)
    staffed.go(job_id)

    os.kill(staffed.trainer(job_id), signal.SIGKILL)
    row = staffed.until_end(job_id)

    assert row["state"] == "succeeded"
    assert staffed.told(job_id) == staffed.told(untouched)
    if staffed.states(job_id) != ["queued", "running", "succeeded"]:  # it may have been done by then
        assert staffed.states(job_id) == RESUMED
        assert "starts at step 10" in (staffed.folder(job_id) / "log.txt").read_text()


def test_a_trainer_that_fails_fails_its_job_alone(staffed: Site) -> None:
    """An exception: the job failed, with a problem and the log's end, and the worker takes the next job."""
    job_id, following = staffed.submit(fail_at=7), staffed.submit()

    row = staffed.until_end(job_id)

    assert (row["state"], row["stop_reason"]) == ("failed", "failed")
    error = row["error"]
    assert error["type"] == "/problems/training_failed"
    assert error["detail"] == f"RuntimeError: no step after 7 in /runs/{job_id}/somewhere"
    assert error["log"][-1] == f"Training failed: {error['detail']}"
    assert "Traceback" not in json.dumps(error)
    assert "Traceback" in (staffed.folder(job_id) / "traceback.txt").read_text()
    assert staffed.until_end(following)["state"] == "succeeded"


def test_a_failed_job_is_resumed_from_its_checkpoint(staffed: Site) -> None:
    """A caller may resume what failed; it starts at the last checkpoint."""
    job_id = staffed.submit(fail_at=7)
    staffed.until_end(job_id)
    last = staffed.job(job_id)["last_event"]

    staffed.queue.resume(job_id)
    staffed.until(job_id, lambda event: event["type"] == "end", after=last)

    assert staffed.states(job_id)[-2:] == ["running", "failed"]
    assert "starts at step 5" in (staffed.folder(job_id) / "log.txt").read_text()
    assert [event["type"] for event in staffed.told(job_id)].count("end") == 1


def test_an_exit_without_a_word_is_a_failure(staffed: Site) -> None:
    """A status that was not agreed on is told."""
    row = staffed.until_end(staffed.submit(exit_at=[3, 42]))

    assert row["error"]["detail"] == "the training process ended with status 42"


def test_a_trainer_that_keeps_dying_fails_its_job(staffed: Site) -> None:
    """A job that is killed again and again without coming to a checkpoint is given up."""
    row = staffed.until_end(staffed.submit(exit_at=[3, 128 + signal.SIGTERM]))

    assert row["error"]["code"] == "trainer_killed"
    assert row["attempt"] == row["deaths"] == 5


def test_a_dead_worker_is_replaced_when_its_lease_ends(site: Site) -> None:
    """A machine that is gone is noticed by its silence; the worker of another one resumes the job."""
    job_id = site.submit(pause_at=7)
    first = site.start_worker()
    site.until_step(job_id, 7)
    orphan = site.trainer(job_id)
    second = site.start_worker()
    wait_for(lambda: len(site.queue.workers()) == 2)

    first.kill()
    first.wait()
    wait_for(lambda: not alive(orphan))
    site.go(job_id)
    site.until_end(job_id)

    assert site.states(job_id) == RESUMED
    assert [worker["pid"] for worker in site.queue.workers()] == [second.pid]


def test_a_frozen_worker_loses_its_job_and_starts_anew(site: Site) -> None:
    """A worker that is frozen past its lease finds that out when it thaws; its trainer stopped before."""
    untouched, job_id = site.submit(seed=5), site.submit(seed=5, pause_at=13)
    frozen = site.start_worker()
    site.until_step(job_id, 13)
    trainer = site.trainer(job_id)
    executor = site.job(job_id)["executor"]

    frozen.send_signal(signal.SIGSTOP)
    wait_for(lambda: not alive(trainer))
    site.go(job_id)
    site.start_worker()
    row = site.until_end(job_id)
    frozen.send_signal(signal.SIGCONT)
    wait_for(lambda: {executor} != _executors(site, frozen.pid) != set())

    assert site.states(job_id) == RESUMED
    assert row["executor"] != executor
    assert site.told(job_id) == site.told(untouched)


def _executors(site: Site, pid: int) -> set[str]:
    return {worker["id"] for worker in site.queue.workers() if worker["pid"] == pid}
