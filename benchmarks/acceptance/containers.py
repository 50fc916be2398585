"""Api, worker and Postgres in containers: built, asked, trained across, and taken down and up again.

POSNEG_BUILD_COMMAND (`podman build`) makes the images and POSNEG_COMPOSE_COMMAND (`podman-compose`) runs
them; `docker build` and `docker compose` do as well. Containers and volumes belong to a project of their own,
of which only the images are left.
"""

import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from benchmarks.acceptance import article
from benchmarks.acceptance.outcome import passed, require, skip
from benchmarks.acceptance.training import follow
from posneg.models.data import shapes
from tests.coco_zips import pictures, simple, zipped

ROOT = Path(__file__).parents[2]
BUILD = shlex.split(os.environ.get("POSNEG_BUILD_COMMAND", "podman build"))
COMPOSE = shlex.split(os.environ.get("POSNEG_COMPOSE_COMMAND", "podman-compose"))
ENGINE = "docker" if COMPOSE[0] == "docker" else "podman"
TARGETS = ("api", "worker")
READY_S = 120
JOB: dict[str, Any] = {
    "kind": "train",
    "dataset": "shapes",
    "detector": "nano",
    "steps": 30,
    "batch_size": 8,
    "input_size": 128,
    "model": "shapes-nano",
}
CONFINEMENT = (  # of process 1: the service itself
    "import json; status = dict(line.split(':', 1) for line in open('/proc/1/status')); "
    "mounts = [line.split() for line in open('/proc/1/mounts')]; "
    "print(json.dumps({'user': int(status['Uid'].split()[0]), 'capabilities': int(status['CapEff'], 16), "
    "'no_new_privileges': int(status['NoNewPrivs']), "
    "'root': next(m[3] for m in mounts if m[1] == '/').split(',')[0]}))"
)


class Stack:
    """The repository's own compose file as a project of its own; nothing of it is left at the end."""

    def __init__(self) -> None:
        self.key = secrets.token_urlsafe(24)
        self.port = _free_port()
        self.command = [*COMPOSE, "--project-name", f"posneg-acceptance-{self.port}", "--profile", "cpu"]
        own = {
            "COMPOSE_PROFILES": "cpu",
            "POSNEG_API_KEYS": self.key,
            "POSNEG_PORT": str(self.port),
            "POSTGRES_PASSWORD": f"{secrets.token_urlsafe(12)}@:/?#%&+",  # no character may do harm
        }
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("POSNEG_")} | own
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}",
            headers={"Authorization": f"Bearer {self.key}"},
            timeout=60,
        )

    def __enter__(self) -> "Stack":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            for service in ("postgres", "api", "worker-cpu"):
                print(f"the last of {service}:\n{self._compose('logs', '--tail', '30', service)}", flush=True)
        self.client.close()
        self._compose("down", "--volumes", check=kind is None)

    def up(self) -> float:
        """Start everything; seconds until the api answers that it is ready and a worker was heard of."""
        began = time.monotonic()
        self._compose("up", "--detach", "--no-build", check=True)
        while time.monotonic() - began < READY_S:
            try:
                answer = self.client.get("/readyz")
                if answer.status_code == 200 and answer.json()["checks"]["workers"]:
                    return time.monotonic() - began
            except httpx.TransportError:
                pass
            time.sleep(0.1)  # not a test: nothing outside tells when a container is ready
        require(False, f"the containers are ready within {READY_S} s", self._compose("ps"))
        raise AssertionError

    def down(self) -> float:
        """Stop and remove every container, but no volume; seconds."""
        began = time.monotonic()
        self._compose("down", check=True)
        return time.monotonic() - began

    def inside(self, service: str, program: str) -> str:
        """What a Python program prints in a service's container."""
        return self._compose("exec", "-T", service, "python", "-c", program, check=True)

    def read(self, path: str) -> Any:  # noqa: ANN401 - any JSON value
        """The answer to a GET."""
        return self.client.get(path).raise_for_status().json()

    def _compose(self, *arguments: str, check: bool = False) -> str:
        told = subprocess.run(
            [*self.command, *arguments], cwd=ROOT, env=self.environment, capture_output=True, text=True
        )
        if check:
            require(told.returncode == 0, f"compose {arguments[0]}", told.stdout + told.stderr)
        return told.stdout if check else told.stdout + told.stderr


def build(target: str) -> None:
    """Make an image, and say how large it is and how long it took."""
    indexes = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS")
    given = [f"--build-arg={name}={os.environ[name]}" for name in indexes if name in os.environ]
    image = f"posneg-{target}:cpu"
    began = time.monotonic()
    made = subprocess.run(
        [*BUILD, "--build-arg=DEVICE=cpu", *given, "--target", target, "-t", image, "."],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    took_s = time.monotonic() - began
    require(made.returncode == 0, f"the image {image} is built", made.stdout[-3000:])
    inspect = [ENGINE, "image", "inspect", "--format", "{{.Size}}", image]
    size = int(subprocess.run(inspect, capture_output=True, text=True, check=True).stdout)
    passed(f"image {image}", f"{size / 1e9:.2f} GB, built in {took_s:.0f} s")


def confined(stack: Stack) -> None:
    """Neither service can do more than it needs, and strangers nothing."""
    wanted = {"user": 10001, "capabilities": 0, "no_new_privileges": 1, "root": "ro"}
    for service in ("api", "worker-cpu"):
        seen = json.loads(stack.inside(service, CONFINEMENT))
        require(seen == wanted, f"{service} is confined", seen)
    passed("api and worker are confined", f"{wanted}")
    status = httpx.get(f"{stack.client.base_url}/v1/jobs").status_code
    require(status == 401, "without the key nothing is answered", status)
    passed("without the key nothing is answered", f"{status}")


def train(stack: Stack) -> dict[str, Any]:
    """Train across the containers, to the end; the job."""
    began = time.monotonic()
    queued = stack.client.post("/v1/jobs", json=JOB).raise_for_status().json()
    job = follow(stack.client, queued)
    require(job["state"] == "succeeded", "the job succeeds", job["error"])
    passed(
        f"{JOB['steps']} steps on shapes across the containers",
        f"{time.monotonic() - began:.1f} s, by {job['worker']}; parity {job['result']['parity']['ok']}",
    )
    return job


def predict(stack: Stack, image: bytes) -> list[dict[str, Any]]:
    """Detections of the trained model, however unsure."""
    answer = stack.client.post(
        f"/v1/models/{JOB['model']}/predict?score=0.01", content=image, headers={"Content-Type": "image/png"}
    )
    detections: list[dict[str, Any]] = answer.raise_for_status().json()["images"][0]["detections"]
    return detections


def upload(stack: Stack) -> None:
    """Keep a small data set of the caller's own."""
    files = {"annotations/instances_train.json": simple([1, 2, 3]), **pictures("images/", [1, 2, 3])}
    answer = stack.client.put(
        "/v1/datasets/own", content=zipped(files), headers={"Content-Type": "application/zip"}
    )
    require(answer.status_code == 201, "a data set of one's own is kept", answer.text)


def interrupt(stack: Stack, steps: int) -> str:
    """Begin a longer training and leave it when it has taken `steps` steps; its id."""
    longer = JOB | {"steps": JOB["steps"] * 4, "model": "shapes-longer"}
    job: dict[str, Any] = stack.client.post("/v1/jobs", json=longer).raise_for_status().json()
    events = f"/v1/jobs/{job['id']}/events"
    with stack.client.stream("GET", events, headers={"Accept": "text/event-stream"}, timeout=None) as lines:
        for line in lines.iter_lines():
            if line.startswith("data:") and json.loads(line[5:]).get("step", 0) >= steps:
                break
    return str(job["id"])


def resumed(stack: Stack, job_id: str) -> None:
    """The interrupted job goes on by itself, from its checkpoint, to its end."""
    job = follow(stack.client, stack.read(f"/v1/jobs/{job_id}"))
    states = [t["state"] for t in job["transitions"]]
    require(job["state"] == "succeeded", "the interrupted job succeeds", (states, job["error"]))
    events = stack.read(f"/v1/jobs/{job_id}/events?limit=1000")["data"]
    taken = [event["step"] for event in events if event["type"] == "loss"]
    require(taken == sorted(set(taken)), "no step of the interrupted job is taken twice", taken)
    passed("a job that the restart interrupted goes on by itself", " → ".join(states))


def check(stack: Stack) -> None:
    """Everything, in order."""
    passed("api, worker and Postgres are ready", f"{stack.up():.1f} s after `up`")
    confined(stack)
    article.check(str(stack.client.base_url).rstrip("/"), Authorization=f"Bearer {stack.key}")
    job = train(stack)
    with tempfile.TemporaryDirectory() as folder:
        drawn = shapes.generate(Path(folder) / "shapes", images={"test": 3})
        image = drawn.splits["test"][-1].file.read_bytes()
    found = predict(stack, image)
    require(len(found) > 0, "the trained model finds something", found)
    passed("the trained model predicts", f"{len(found)} detections, the first {found[0]}")
    upload(stack)
    kept = ("/v1/datasets/own", f"/v1/models/{JOB['model']}", f"/v1/jobs/{job['id']}")
    before = [stack.read(path) for path in (*kept, f"/v1/jobs/{job['id']}/events")]
    interrupted = interrupt(stack, JOB["steps"] // 2)

    passed("everything is stopped and removed, but for the volumes", f"{stack.down():.1f} s")
    passed("everything is up again", f"{stack.up():.1f} s")
    after = [stack.read(path) for path in (*kept, f"/v1/jobs/{job['id']}/events")]
    require(after == before, "data set, model, job and its events are as they were", (before, after))
    passed("data set, model, job and its events are as they were")
    require(predict(stack, image) == found, "the model predicts the same", found)
    passed("the model predicts the same")
    resumed(stack, interrupted)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    for program in (BUILD[0], COMPOSE[0], ENGINE):
        if shutil.which(program) is None:
            skip(f"needs {program}, or another by POSNEG_BUILD_COMMAND and POSNEG_COMPOSE_COMMAND")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is taken down
    for target in TARGETS:
        build(target)
    with Stack() as stack:
        check(stack)
