"""Blood cells over HTTP: a zip in, a job trains `nano` for ten CPU-minutes, the served model finds cells."""

import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import httpx

from benchmarks.acceptance.outcome import passed, require, test_data
from tests.conftest import launch

PEER_AP = 0.544  # YOLOv8n in the same budget, from scratch, 320 px
JOB: dict[str, Any] = {
    "kind": "train",
    "dataset": "cells",
    "detector": "nano",
    "input_size": 320,
    "batch_size": 16,
    "budget_seconds": 600,
    "budget_clock": "cpu",
    "model": "cells",
}


def follow(client: httpx.Client, job: dict[str, Any]) -> dict[str, Any]:
    """Read a job's live events to their end, and the job as it then is."""
    events = f"/v1/jobs/{job['id']}/events"
    with client.stream("GET", events, headers={"Accept": "text/event-stream"}, timeout=None) as stream:
        for line in stream.iter_lines():
            if line == "event: end":
                break
    ended: dict[str, Any] = client.get(job["links"]["self"]).raise_for_status().json()
    return ended


def check(client: httpx.Client, cells: Path, budget_s: float) -> None:
    """Data set, job, model, detections."""
    with tempfile.TemporaryFile() as packed:
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
            for file in sorted(cells.rglob("*")):
                if file.is_file():
                    archive.write(file, file.relative_to(cells))
        packed.seek(0)
        data = client.put("/v1/datasets/cells", content=packed, headers={"Content-Type": "application/zip"})
    splits = data.raise_for_status().json()["splits"]
    passed("bccd as a zip over HTTP", f"splits {splits}")
    answer = client.post("/v1/jobs", json=JOB | {"budget_seconds": budget_s}).raise_for_status()
    job = follow(client, answer.json())
    require(job["state"] == "succeeded", "the job succeeds", job["error"])
    result = job["result"]
    passed("nano trained on bccd", f"{job['progress']}, result {result}")
    passed("test AP", f"{job['metrics']}; YOLOv8n {PEER_AP} in 600 CPU-seconds")
    image = sorted((cells / "images").glob("*.jpg"))[-1]
    found = client.post(
        "/v1/models/cells/predict", content=image.read_bytes(), headers={"Content-Type": "image/jpeg"}
    )
    detections = found.raise_for_status().json()["images"][0]["detections"]
    require(len(detections) > 0, "the served model finds cells", len(detections))
    passed("the served model finds cells", f"{len(detections)} on {image.name}, best {detections[0]}")


if __name__ == "__main__":
    inputs = test_data("data/bccd")
    with tempfile.TemporaryDirectory() as folder:
        server = launch(Path(folder), worker=True)
        try:
            with httpx.Client(base_url=server.url, timeout=120) as client:
                check(client, inputs, float(sys.argv[1]) if len(sys.argv) > 1 else JOB["budget_seconds"])
        finally:
            server.stop()
