"""`make demo`: the whole road in a few minutes, over HTTP: explain a loss, train a detector, use it."""

import io
import json
import tempfile
from pathlib import Path
from typing import Any

import httpx
from PIL import Image, ImageDraw

from benchmarks.acceptance import article
from tests.conftest import launch

JOB = {"kind": "train", "dataset": "shapes", "detector": "nano", "steps": 200, "input_size": 160}


def follow(client: httpx.Client, job: dict[str, Any]) -> dict[str, Any]:
    """Print a job's terms as they come; the job as it ended."""
    events = f"/v1/jobs/{job['id']}/events"
    with client.stream("GET", events, headers={"Accept": "text/event-stream"}, timeout=None) as stream:
        for line in stream.iter_lines():
            if line.startswith("data:"):
                told = json.loads(line.removeprefix("data:"))
                if told.get("type") == "loss" and told["step"] % 10 == 0:
                    terms = "  ".join(f"{n} {t['value']:.3f}" for n, t in told["terms"].items())
                    print(f"step {told['step']:>4} of {told['steps']}  {terms}", flush=True)
                if told.get("type") == "metrics":
                    print(f"{told['split']}: AP {told['map']:.3f}, AP50 {told['map50']:.3f}", flush=True)
    ended: dict[str, Any] = client.get(job["links"]["self"]).raise_for_status().json()
    return ended


def scene() -> bytes:
    """A picture that the detector has not seen: a circle and a square on grey."""
    image = Image.new("RGB", (240, 180), (120, 120, 120))
    draw = ImageDraw.Draw(image)
    draw.ellipse((30, 40, 90, 100), fill=(220, 60, 50))
    draw.rectangle((140, 60, 210, 130), fill=(40, 90, 200))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        server = launch(Path(folder), worker=True)
        try:
            article.check(server.url)
            with httpx.Client(base_url=server.url, timeout=60) as client:
                job = follow(client, client.post("/v1/jobs", json=JOB).raise_for_status().json())
                print(f"{job['state']}: {job['links']['model']}")
                answer = client.post(
                    f"{job['links']['model']}/predict", content=scene(), headers={"Content-Type": "image/png"}
                )
                for found in answer.raise_for_status().json()["images"][0]["detections"]:
                    print(f"{found['label']:>10} {found['score']:.2f} at {[round(v) for v in found['box']]}")
        finally:
            server.stop()
