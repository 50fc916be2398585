"""A stand-in for the trainer: the same agreement with its worker, but steps that take milliseconds.

`spec["standin"]`, or STANDIN in the environment, says what is to happen: `pause_at` (a step at which it waits
for a file `go`), `fail_at`, `exit_at` (a step and a status), `deaf` (to SIGTERM).
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from posneg.service.jobs import process

CHECKPOINT_EVERY = 5


def work(
    spec: dict[str, Any], folder: Path, emit: process.Emit, should_stop: process.ShouldStop
) -> dict[str, Any] | None:
    """Count to `steps`; the state is a number that depends on every step before."""
    told = spec.get("standin") or json.loads(os.environ.get("STANDIN", "{}"))
    steps = spec["steps"]
    (folder / "pid").write_text(str(os.getpid()))
    checkpoint = folder / "checkpoint.json"
    state = json.loads(checkpoint.read_text()) if checkpoint.exists() else {"step": 0, "value": spec["seed"]}
    sys.stdout.write(f"starts at step {state['step']}\n")
    sys.stdout.flush()
    totals = {"steps": steps, "epochs": 1, "epoch": 0}
    if state["step"] == 0:
        emit({"type": "log", "step": 0, "message": "starts", **totals})

    while state["step"] < steps:
        if _interrupted(told, state["step"], folder, should_stop):
            process.write(checkpoint, state)
            return None
        state = {"step": state["step"] + 1, "value": (state["value"] * 31 + state["step"]) % 1009}
        term = {"value": state["value"] / 7, "positive": 1.0, "negative": float("nan")}
        counts = {"positive": 1, "negative": 2, "ignored": 0, "ground_truth": 1, "images": 4}
        emit({"type": "loss", "step": state["step"], "terms": {"box": term}, "total": term["value"],
              "counts": counts, "images_per_second": 40.0, **totals})  # fmt: skip
        if state["step"] % CHECKPOINT_EVERY == 0:
            emit(
                {
                    "type": "metrics",
                    "step": state["step"],
                    "split": "val",
                    "map": 0.5,
                    "map50": 0.75,
                    **totals,
                }
            )
            process.write(checkpoint, state)
            emit({"type": "checkpoint", "step": state["step"], "file": checkpoint.name, **totals})
    (folder / "export").mkdir(exist_ok=True)
    (folder / "export" / "model.onnx").write_bytes(b"not a model")
    return {"model": spec["model"], "version": 1, "map": 0.5, "map50": 0.75, "parity": None,
            "value": state["value"]}  # fmt: skip


def _interrupted(told: dict[str, Any], step: int, folder: Path, should_stop: process.ShouldStop) -> bool:
    """Whether to stop before the next step."""
    hears = not told.get("deaf")
    if step == told.get("fail_at"):
        raise RuntimeError(f"no step after {step} in {folder}/somewhere")
    if step == told.get("exit_at", [None])[0]:
        os._exit(told["exit_at"][1])
    while step == told.get("pause_at") and not (folder / "go").exists() and not (hears and should_stop()):
        time.sleep(0.01)
    return hears and should_stop()


if __name__ == "__main__":
    process.main(work)
