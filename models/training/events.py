"""What a run tells while it goes on: plain dictionaries, fit for JSON, each with its step."""

from dataclasses import asdict, dataclass
from typing import Any

from posneg.models.criterion import Breakdown
from posneg.models.training.evaluation import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a run is: steps and whole epochs done, of how many (None: time decides), as a fraction."""

    step: int
    steps: int | None
    epoch: int
    epochs: int | None
    fraction: float


def event(kind: str, position: Position, **fields: object) -> dict[str, Any]:
    """Any event."""
    return {"type": kind, **asdict(position), **fields}


def loss_event(
    position: Position, breakdown: Breakdown, *, images: int, learning_rate: float, images_per_second: float
) -> dict[str, Any]:
    """The loss of the step's batch by term, positives and negatives apart, and what it was made of."""
    assignment = breakdown.assignment
    counts = {
        "positive": int(assignment.positive.sum()),
        "negative": int(assignment.negative.sum()),
        "ignored": int(assignment.ignored.sum()),
        "ground_truth": len(assignment.degenerate),
        "images": images,
    }
    terms = {
        name: {
            "value": term.value.item(),
            "positive": term.positive.item(),
            "negative": term.negative.item(),
        }
        for name, term in breakdown.terms.items()
    }
    return event(
        "loss",
        position,
        total=breakdown.total.item(),
        terms=terms,
        counts=counts,
        learning_rate=learning_rate,
        images_per_second=round(images_per_second, 3),
    )


def metrics_event(position: Position, split: str, metrics: Metrics) -> dict[str, Any]:
    """AP of the averaged weights on a split."""
    return event("metrics", position, split=split, **asdict(metrics))
