"""A job as the api tells of it."""

from typing import Any

from posneg.service.jobs.ledger import Row

NO_METRICS = {"loss": None, "map": None, "map50": None}
LINKS = ("events", "cancel", "resume", "logs", "artifacts")


def job(row: Row, queue_position: int | None) -> dict[str, Any]:
    """What was asked for, with its defaults, and what became of it."""
    own = f"/v1/jobs/{row['id']}"
    links = {"self": own} | {name: f"{own}/{name}" for name in LINKS}
    spec: dict[str, Any] = row["spec"]
    return spec | {
        "id": row["id"],
        "kind": row["kind"],
        "state": row["state"],
        "created_at": row["created_at"],
        "queue_position": queue_position,
        "transitions": row["transitions"],
        "progress": _progress(row),
        "metrics": NO_METRICS | row["metrics"],
        "error": row["error"],
        "result": row["result"],
        "stop_reason": row["stop_reason"],
        "worker": row["executor"],
        "links": links | {"model": f"/v1/models/{spec['model']}"},
    }


def _progress(row: Row) -> dict[str, Any]:
    """How far a job is; one that succeeded is at its end, whatever it was meant to take."""
    progress: dict[str, Any] = _start(row["spec"]) | row["progress"]
    if row["state"] == "succeeded":
        progress |= {"steps": progress["step"], "epochs": progress["epoch"], "eta_seconds": 0.0}
    return progress


def _start(spec: dict[str, Any]) -> dict[str, Any]:
    """How far a job is before it has told anything."""
    totals = {name: spec.get(name) for name in ("steps", "epochs")}
    return totals | {"step": 0, "epoch": 0, "images_per_second": None, "eta_seconds": None}
