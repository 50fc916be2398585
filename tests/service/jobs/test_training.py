"""The real trainer, end to end: killed and resumed, it gives the model of a run that was left alone."""

import hashlib
import os
import signal

import pytest

from posneg.service import repository
from posneg.service.jobs.specs import resolved
from posneg.service.jobs.worker import TRAINER
from posneg.service.schemas.jobs import TrainRequest
from tests.service.jobs.site import Site

STEPS, KILLED_AT = 40, 5


@pytest.mark.timeout(600)
def test_a_killed_training_gives_the_untouched_model(site: Site) -> None:
    """kill -9 of the trainer, then of the worker: same weights, file, events; the model is published once."""
    untouched, killed = _submit(site, "untouched"), _submit(site, "killed")
    workers = [site.start_worker(TRAINER) for _ in range(2)]
    site.until_step(untouched, 1)
    site.until_step(killed, KILLED_AT)

    os.kill(site.trainer(killed), signal.SIGKILL)
    site.until_state(killed, "running", times=2)
    [victim] = [told["pid"] for told in site.queue.workers() if told["job"] == killed]
    [worker] = [worker for worker in workers if worker.pid == victim]
    worker.kill()
    worker.wait()
    site.start_worker(TRAINER)
    rows = [site.until_end(job_id) for job_id in (untouched, killed)]

    assert [row["state"] for row in rows] == ["succeeded"] * 2
    assert [row["attempt"] for row in rows] == [1, 3]
    assert site.told(killed) == site.told(untouched)
    for name in ("last.pt", "export/model.onnx"):
        assert _sha256(site, killed, name) == _sha256(site, untouched, name)
    for row in rows:
        [version] = repository.versions(site.settings.models_folder, row["spec"]["model"])
        kept = repository.read(site.settings.models_folder, row["spec"]["model"], version)
        assert kept.details["job"] == row["id"]
        assert kept.details["parity"]["ok"]
        assert kept.details["labels"] == ["circle", "square", "triangle"]
        assert row["result"]["version"] == version


def _submit(site: Site, name: str) -> str:
    asked = {"dataset": "shapes", "steps": STEPS, "batch_size": 2, "input_size": 64, "overfit": 4}
    request = TrainRequest(**asked, evaluate_every=20, checkpoint_every=2, model=name)
    site.queue.submit(name, resolved(request, site.records))
    return name


def _sha256(site: Site, job_id: str, name: str) -> str:
    return hashlib.sha256((site.folder(job_id) / name).read_bytes()).hexdigest()
