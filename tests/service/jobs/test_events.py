"""What an event is about, and what it says of progress."""

import json
import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from posneg.service.jobs import events

KINDS = st.sampled_from(events.TOLD_BY_TRAINER)
EVENTS = st.fixed_dictionaries({"type": KINDS, "step": st.integers(0, 5)}, optional={"split": st.just("val")})
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(EVENTS, EVENTS)
def test_keys_differ_where_type_or_step_do(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Two events share a key only if they are about the same."""
    if events.key(one) == events.key(other):
        assert (one["type"], one["step"]) == (other["type"], other["step"])


def test_splits_and_messages_are_told_apart() -> None:
    """One step may have metrics of several splits and several messages."""
    told = [
        {"type": "metrics", "step": 1, "split": "val"},
        {"type": "metrics", "step": 1, "split": "test"},
        {"type": "log", "step": 1, "message": "a"},
        {"type": "log", "step": 1, "message": "b"},
    ]

    assert len({events.key(event) for event in told}) == 4


@given(VALUES)
def test_finite_gives_strict_json(value: Any) -> None:
    """Whatever was told, what is stored is strict JSON, and equal where it was finite."""
    stored = events.finite(value)

    json.dumps(stored, allow_nan=False)
    assert stored == value or not _is_finite(value)


def test_progress_tells_the_time_left() -> None:
    """10 of 30 steps of 4 images at 8 a second are done: 10 s are left."""
    told = {"type": "loss", "step": 10, "steps": 30, "epoch": 1, "epochs": 3}
    more = {"counts": {"images": 4}, "images_per_second": 8.0}

    after = events.progress({}, [told | more])

    assert after == {
        "step": 10,
        "steps": 30,
        "epoch": 1,
        "epochs": 3,
        "images_per_second": 8.0,
        "eta_seconds": 10.0,
    }


def test_progress_falls_back_to_the_checkpoint() -> None:
    """A resumed trainer says where it really is."""
    assert events.progress({"step": 17, "steps": 30}, [{"type": "checkpoint", "step": 10}])["step"] == 10


def test_metrics_keep_the_last_loss_and_accuracy() -> None:
    """The last loss terms stand beside the last accuracy."""
    loss = {"type": "loss", "step": 2, "total": 1.5, "terms": {"box": {"value": 1.5}}}
    accuracy = {"type": "metrics", "step": 1, "split": "val", "map": 0.25, "map50": 0.5, "by_class": {}}

    after = events.metrics({}, [accuracy, loss, accuracy | {"split": "test", "map": 0.125}])

    assert after["loss"] == {"step": 2, "total": 1.5, "terms": {"box": {"value": 1.5}}}
    assert (after["map"], after["map50"], after["split"]) == (0.25, 0.5, "val")
    assert after["test"]["map"] == 0.125


def _is_finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    return all(map(_is_finite, value)) if isinstance(value, list) else True
