"""Jobs over HTTP, on a real socket: submitted once, followed live, cancelled, resumed, kept over restarts."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Server
from tests.service.jobs.site import STANDIN, alive, wait_for

TRAIN = {"kind": "train", "dataset": "shapes", "detector": "nano", "steps": 12}
STREAM = {"Accept": "text/event-stream"}
EARLY_END_S = 60.0
Start = Callable[..., Server]


@pytest.fixture(scope="module")
def staffed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service with a worker whose trainers are stand-ins that wait at step 7."""
    from tests.conftest import launch

    server = launch(tmp_path_factory.mktemp("served"), lease_s=4)
    worker = start_worker(server)
    with httpx.Client(base_url=server.url, timeout=EARLY_END_S) as client:
        client.headers["X-Data"] = str(server.data)  # for the tests themselves
        yield client
    worker.terminate()
    worker.wait()
    server.stop()


def start_worker(server: Server) -> subprocess.Popen[bytes]:
    """A worker of its own process beside a service."""
    told = {"POSNEG_DATA": str(server.data), "POSNEG_LEASE_S": "4", "STANDIN": json.dumps({"pause_at": 7})}
    command = [sys.executable, "-m", "posneg.service.jobs.worker", "--trainer", *STANDIN]
    return subprocess.Popen(command, env=os.environ | told, stderr=subprocess.DEVNULL)


def go(client: httpx.Client, job: dict[str, Any]) -> None:
    """Let the stand-in go on."""
    folder = Path(client.headers["X-Data"]) / "runs" / job["id"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "go").touch()


def events(client: httpx.Client, job: dict[str, Any], **headers: str) -> Iterator[dict[str, Any]]:
    """The live events of a job, each as its data with the fields of the stream laid beside."""
    with client.stream("GET", f"/v1/jobs/{job['id']}/events", headers=STREAM | headers) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        for line in stream.iter_lines():
            if line and not line.startswith(":"):
                name, _, value = line.partition(": ")
                fields[name] = value
            elif fields.get("data"):
                data = json.loads(fields["data"])
                assert (str(data["id"]), data["type"]) == (fields["id"], fields["event"])
                yield data
                fields = {}


def until(client: httpx.Client, job: dict[str, Any], **wanted: Any) -> dict[str, Any]:
    """Follow a job to the first event that has these fields."""
    return next(e for e in events(client, job) if wanted.items() <= e.items())


def submit(client: httpx.Client, **changes: Any) -> dict[str, Any]:
    """Queue a training; the job."""
    response = client.post("/v1/jobs", json=TRAIN | changes)
    assert response.status_code == 202, response.text
    job: dict[str, Any] = response.json()
    return job


def test_a_submission_is_accepted_with_its_defaults(staffed: httpx.Client) -> None:
    """202 with Location and Retry-After, and everything that was not asked for filled in."""
    response = staffed.post("/v1/jobs", json={"dataset": "shapes"})

    job = response.json()
    assert response.status_code == 202
    assert response.headers["location"] == job["links"]["self"] == f"/v1/jobs/{job['id']}"
    assert int(response.headers["retry-after"]) > 0
    assert (job["kind"], job["state"], job["detector"]) == ("train", "queued", "nano")
    assert (job["epochs"], job["steps"], job["budget_seconds"]) == (None, 1200, None)
    assert job["model"] == "shapes-nano"
    assert set(job["links"]) >= {"self", "events", "cancel", "model"}
    staffed.post(job["links"]["cancel"])


def test_a_job_is_followed_to_its_end(staffed: httpx.Client) -> None:
    """The stream tells every event once and ends with `end`; the list and the job say the same."""
    job = submit(staffed)
    go(staffed, job)

    told = list(events(staffed, job))

    assert [e["state"] for e in told if e["type"] == "state"] == ["queued", "running", "succeeded"]
    assert [e["step"] for e in told if e["type"] == "loss"] == list(range(1, 13))
    assert {"loss", "metrics", "log", "checkpoint", "state", "end"} == {e["type"] for e in told}
    assert told[-1]["type"] == "end"
    numbers = [e["id"] for e in told]
    assert numbers == sorted(set(numbers))
    assert staffed.get(job["links"]["events"]).json() == {"data": told, "has_more": False, "next": None}
    done = staffed.get(job["links"]["self"]).json()
    assert done["progress"]["step"] == 12
    assert done["metrics"]["map50"] == 0.75
    assert done["result"] | {"model": "shapes-nano", "version": 1, "map": 0.5} == done["result"]
    assert (done["stop_reason"], done["error"], done["queue_position"]) == ("completed", None, None)


def test_a_broken_stream_goes_on_where_it_broke(staffed: httpx.Client) -> None:
    """With Last-Event-ID a caller gets what it missed, then what is new, and nothing twice."""
    job = submit(staffed)
    first = []
    for event in events(staffed, job):
        first.append(event)
        if event["type"] == "loss" and event["step"] == 5:
            break
    go(staffed, job)

    rest = list(events(staffed, job, **{"Last-Event-ID": str(first[-1]["id"])}))

    assert first + rest == list(events(staffed, job))
    assert rest[-1]["type"] == "end"
    again = list(events(staffed, job, **{"Last-Event-ID": str(rest[-1]["id"])}))
    assert again == rest[-1:]  # a stream always has an end
    assert staffed.get(job["links"]["events"], params={"after": first[-1]["id"]}).json()["data"] == rest
    page = staffed.get(job["links"]["events"], params={"limit": 3}).json()
    assert (page["has_more"], page["next"]) == (True, "3")


def test_cancel_resume_delete(staffed: httpx.Client) -> None:
    """A running job is cancelled, keeps its checkpoint, is resumed, and can be deleted once it has ended."""
    job = submit(staffed)
    until(staffed, job, type="loss", step=7)
    assert staffed.delete(job["links"]["self"]).status_code == 409
    [worker] = staffed.get("/v1/workers").json()["data"]
    assert (worker["job"], worker["state"], worker["device"]) == (job["id"], "up", "cpu")
    assert worker["memory"]["total"] > 0

    assert staffed.post(job["links"]["cancel"]).status_code == 202
    end = until(staffed, job, type="end")
    assert (end["state"], end["stop_reason"]) == ("cancelled", "cancelled")
    files = {file["name"]: file for file in staffed.get(job["links"]["artifacts"]).json()["data"]}
    assert staffed.get(files["checkpoint.json"]["href"]).json()["step"] == 7

    go(staffed, job)
    resumed = staffed.post(job["links"]["resume"])
    assert (resumed.status_code, resumed.json()["stop_reason"]) == (202, None)
    assert until(staffed, job, type="end")["state"] == "succeeded"
    assert staffed.post(job["links"]["resume"]).status_code == 409
    assert staffed.post(job["links"]["cancel"]).status_code == 409
    assert staffed.get(job["links"]["logs"]).text == "starts at step 0\nstarts at step 7\n"

    assert staffed.delete(job["links"]["self"]).status_code == 204
    for link in ("self", "events", "logs", "artifacts"):
        assert staffed.get(job["links"][link]).status_code == 404


def test_the_same_key_makes_one_job(staffed: httpx.Client) -> None:
    """A submission that is sent twice with one Idempotency-Key is answered twice and runs once."""
    key = {"Idempotency-Key": "once"}

    first, second = (staffed.post("/v1/jobs", json=TRAIN | {"priority": -100}, headers=key) for _ in range(2))
    other = staffed.post("/v1/jobs", json=TRAIN | {"priority": -99}, headers=key)

    assert (first.status_code, first.json()) == (second.status_code, second.json())
    assert second.headers["location"] == first.headers["location"]
    assert other.status_code == 422
    mine = [job for job in staffed.get("/v1/jobs").json()["data"] if job["priority"] == -100]
    assert len(mine) == 1
    staffed.post(mine[0]["links"]["cancel"])


def test_files_outside_the_run_are_not_served(staffed: httpx.Client) -> None:
    """No name leads out of the folder, nor to what is not the caller's to see."""
    job = submit(staffed)
    staffed.post(job["links"]["cancel"])

    for name in (
        "../../posneg.sqlite",
        "%2e%2e/%2e%2e/posneg.sqlite",
        "/etc/passwd",
        ".lock",
        "traceback.txt",
    ):
        assert staffed.get(f"{job['links']['artifacts']}/{name}").status_code == 404


@pytest.mark.parametrize(
    ("asked", "pointers"),
    [
        ({"dataset": "nowhere"}, ["/dataset"]),
        ({"dataset": "shapes", "detector": "none"}, ["/detector"]),
        ({"dataset": "shapes", "preset": "none"}, ["/preset"]),
        ({"dataset": "shapes", "steps": 5, "epochs": 1}, ["/steps"]),
        ({"dataset": "shapes", "assigner": {"topk": "many"}}, ["/assigner/topk"]),
        ({"dataset": "shapes", "loss": {"box": {"name": "none"}}}, ["/loss/box/name"]),
        ({"dataset": "shapes", "augmentation": {"nothing": 1}}, ["/augmentation/nothing"]),
        ({"dataset": "nowhere", "detector": "none", "preset": "none"}, ["/dataset", "/detector", "/preset"]),
        ({"dataset": "shapes", "priority": 101, "steps": 0, "x": 1}, ["/priority", "/steps", "/x"]),
        ({"dataset": "shapes", "model": "../x"}, ["/model"]),
        ({}, ["/dataset"]),
    ],
)
def test_every_fault_is_pointed_at(staffed: httpx.Client, asked: dict[str, Any], pointers: list[str]) -> None:
    """What cannot be trained is refused at once, with a pointer to each fault."""
    response = staffed.post("/v1/jobs", json=asked)

    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert sorted(fault["pointer"] for fault in response.json()["errors"]) == pointers


def test_bad_cursors_are_pointed_at(staffed: httpx.Client) -> None:
    """A cursor or an event id that is none is the caller's mistake."""
    job = submit(staffed)
    staffed.post(job["links"]["cancel"])

    assert staffed.get("/v1/jobs", params={"after": "x"}).status_code == 422
    assert staffed.get(job["links"]["events"], headers=STREAM | {"Last-Event-ID": "x"}).status_code == 422
    assert staffed.get("/v1/jobs", params={"state": "x"}).status_code == 422


def test_jobs_and_events_outlive_the_service(start_server: Start, tmp_path: Path) -> None:
    """A service that is killed and started again has the same jobs, and its worker runs those that wait."""
    data = tmp_path / "kept"
    before = start_server(data=data, lease_s=4)
    ids = [httpx.post(f"{before.url}/v1/jobs", json=TRAIN).json()["id"] for _ in range(3)]
    listed = httpx.get(f"{before.url}/v1/jobs", params={"limit": 2}).json()
    before.process.kill()
    before.process.wait()

    after = start_server(data=data, lease_s=4)

    assert httpx.get(f"{after.url}/v1/jobs", params={"limit": 2}).json() == listed
    rest = httpx.get(f"{after.url}/v1/jobs", params={"after": listed["next"]}).json()
    assert [job["id"] for job in listed["data"] + rest["data"]] == ids[::-1]
    worker = start_worker(after)
    with httpx.Client(base_url=after.url, timeout=EARLY_END_S, headers={"X-Data": str(data)}) as client:
        for job in listed["data"] + rest["data"]:
            go(client, job)
        for job in listed["data"] + rest["data"]:
            assert until(client, job, type="end")["state"] == "succeeded"
    worker.terminate()
    worker.wait()


def test_a_service_stops_although_it_is_followed(start_server: Start) -> None:
    """Open streams do not keep a service from stopping; their callers see the end of the connection."""
    server = start_server()
    job = httpx.post(f"{server.url}/v1/jobs", json=TRAIN).json()
    with httpx.Client(base_url=server.url, timeout=EARLY_END_S) as client:
        stream = events(client, job)
        assert next(stream)["state"] == "queued"

        assert server.stop() == 0

        assert list(stream) == []


def test_the_worker_of_a_service_is_replaced(start_server: Start) -> None:
    """kill -9 of the embedded worker: another one is there soon; it ends with the service."""
    server = start_server(worker=True, lease_s=4)

    def pids() -> set[int]:
        return {worker["pid"] for worker in httpx.get(f"{server.url}/v1/workers").json()["data"]}

    wait_for(lambda: len(pids()) == 1)
    [first] = pids()
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: len(pids() - {first}) == 1)
    [second] = pids() - {first}

    assert server.stop() == 0
    assert not alive(second)
