"""`nano` from scratch on the blood cells of BCCD: test AP in a budget of CPU time, beside YOLOv8n's.

Workload: 205 training images at 320 px, 8 a step, float32, 2 threads, seed 0; the budget counts the CPU
time of training and of its evaluations on val, and not the final test. YOLOv8n's figures were measured with
the same budget, data and scoring.

    POSNEG_TEST_DATA=<folder with data/bccd> python -m benchmarks.train_bccd [CPU-seconds]
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # waiting threads sleep: spinning is CPU time too

import platform
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.acceptance.outcome import test_data
from posneg.models.data.layouts import read
from posneg.models.training.config import TrainConfig
from posneg.models.training.loop import train

BUDGET_S = 600.0
PEER = "YOLOv8n: test AP 0.544, AP50 0.860, 9.6 images per CPU-second (600 CPU-seconds)"
MAX_PIXELS = 2**24
METRICS = {"AP": "map", "AP50": "map50", "AP75": "map75"}


def report(cells: Path, budget_s: float) -> None:
    """Train and print the figures."""
    dataset, issues = read(cells, name="bccd", max_pixels=MAX_PIXELS)
    config = TrainConfig(
        budget_seconds=budget_s, budget_clock="cpu", batch_size=8, input_size=320, threads=2, device="cpu"
    )
    print(f"{date.today()} · {processor()} · {os.cpu_count()} cores · load {os.getloadavg()[0]:.1f}")
    counts = ", ".join(f"{name} {len(samples)}" for name, samples in dataset.splits.items())
    print(f"images: {counts}; {len(issues)} issues")
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        result = train(config, dataset, Path(folder), emit=tell)
    rate = result.steps * config.batch_size / result.seconds
    print(f"{result.steps} steps, {result.epochs} epochs, {rate:.1f} images per CPU-second")
    print(f"{result.seconds:.0f} CPU-seconds, {time.monotonic() - began:.0f} seconds in all")
    for split, found in result.metrics.items():
        classes = ", ".join(f"{name} {one['map']:.3f}" for name, one in found["by_class"].items())
        figures = ", ".join(f"{name} {found[key]:.4f}" for name, key in METRICS.items())
        print(f"{split}: {figures} ({classes})")
    print(PEER)


def tell(event: dict[str, Any]) -> None:
    """Progress, one line an evaluation."""
    if event["type"] == "metrics":
        place = f"{event['fraction']:4.0%} step {event['step']}"
        print(f"  {place}: {event['split']} AP {event['map']:.4f}", flush=True)


def processor() -> str:
    """The model of the CPU, as well as it is known."""
    table = Path("/proc/cpuinfo")
    lines = table.read_text().splitlines() if table.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    report(test_data("data/bccd"), float(sys.argv[1]) if len(sys.argv) > 1 else BUDGET_S)
