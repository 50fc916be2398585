"""Events of a job: what a trainer tells, what identifies it, and what it says of progress.

A trainer that resumes tells again what it told after its last checkpoint. The key of an event says what it is
about (its type and step); an event whose key is stored already is not stored again, so the list of a job
that was killed and resumed equals that of one that was left alone.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping
from typing import Any

TOLD_BY_TRAINER = ("loss", "metrics", "log", "checkpoint")
METRICS = ("map", "map50", "map75")
SCALE = ("step", "steps", "epoch", "epochs")


def key(event: Mapping[str, Any]) -> str:
    """What the event is about: the same for an event that is told a second time."""
    about = {"metrics": event.get("split"), "log": _digest(str(event.get("message", "")))}
    return f"{event['type']}:{event.get('step')}:{about.get(event['type']) or ''}"


def finite(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """`value` as strict JSON: what is not finite becomes null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return value


def progress(before: Mapping[str, Any], events: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """How far the job is after `events`: the latest says it, also where it fell back to a checkpoint."""
    after = dict(before)
    for event in events:
        after |= {name: event[name] for name in SCALE if event.get(name) is not None}
        if event["type"] == "loss":
            after["images_per_second"] = rate = event.get("images_per_second")
            after["eta_seconds"] = event.get("eta_seconds", _eta_s(after, event, rate))
    return after


def metrics(before: Mapping[str, Any], events: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The last loss terms and the last accuracy; that on the split test stands apart."""
    after = dict(before)
    for event in events:
        if event["type"] == "loss":
            after["loss"] = {name: event.get(name) for name in ("step", "total", "terms")}
        if event["type"] == "metrics":
            accuracy = {name: event[name] for name in ("step", *METRICS) if name in event}
            if event.get("split") == "test":
                after["test"] = accuracy
            else:
                after |= accuracy | {"split": event.get("split")}
    return after


def _eta_s(progress: Mapping[str, Any], event: Mapping[str, Any], rate: float | None) -> float | None:
    """Seconds to the last step at the present rate; None where steps or rate are not known."""
    images = (event.get("counts") or {}).get("images")
    if not (rate and images and progress.get("steps") and progress.get("step") is not None):
        return None
    return float(round((progress["steps"] - progress["step"]) * images / rate, 1))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
