"""Why a job failed, as problems: the same form that a failed request has."""

import json
from pathlib import Path
from typing import Any

from posneg.service.errors import ServiceError, TrainingFailed, kinds, problem

TAIL_LINES = 20
TAIL_BYTES = 16_384


def told(error: ServiceError, *, job_id: str, log: Path | None = None) -> dict[str, Any]:
    """The problem object of a failed job, with the last lines of its log."""
    return problem(error, job_id) | {"log": tail(log) if log else []}


def write(folder: Path, error: ServiceError) -> None:
    """Leave word for the worker of why this trainer ends."""
    said = {"code": error.code, "detail": error.detail}
    (folder / "error.json").write_text(json.dumps(said))


def read(folder: Path) -> ServiceError | None:
    """What a trainer left word of; None where it had no time to."""
    file = folder / "error.json"
    if not file.exists():
        return None
    said = json.loads(file.read_text())
    return kinds().get(said["code"], TrainingFailed)(said["detail"])


def tail(file: Path) -> list[str]:
    """The last lines of a log, however long it is."""
    if not file.exists():
        return []
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - TAIL_BYTES))
        return stream.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
