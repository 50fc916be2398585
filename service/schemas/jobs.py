"""What a job is asked for, and what is told of one."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class TrainRequest(BaseModel):
    """A training, by `epochs`, `steps` or `budget_seconds`; without any, so many steps as fit the data."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [{"kind": "train", "dataset": "shapes", "detector": "nano", "steps": 300}]
        },
    )

    kind: Literal["train"] = "train"
    dataset: Annotated[str, Field(min_length=1, max_length=128, description="Name of a data set.")]
    detector: Annotated[str, Field(max_length=128)] = "nano"
    epochs: Annotated[int | None, Field(ge=1, le=100_000)] = None
    steps: Annotated[int | None, Field(ge=1, le=10_000_000)] = None
    budget_seconds: Annotated[float | None, Field(gt=0, le=30 * 86400, allow_inf_nan=False)] = None
    budget_clock: Annotated[
        Literal["wall", "cpu"],
        Field(description="What a budget counts: elapsed or CPU time."),
    ] = "wall"
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 16
    input_size: Annotated[
        int, Field(ge=32, le=2048, multiple_of=32, description="Side of the square input, pixels.")
    ] = 320
    preset: Annotated[str, Field(max_length=128)] = "yolov8"
    assigner: dict[str, Any] = {}
    loss: dict[str, dict[str, Any]] = {}
    augmentation: dict[str, Any] = {}
    learning_rate: Annotated[
        float | None, Field(gt=0, allow_inf_nan=False, description="Of a whole batch; null: by its size.")
    ] = None
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.03
    threads: Annotated[
        int | None, Field(ge=1, le=1024, description="Of torch on a CPU; null: as the machine has them.")
    ] = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    overfit: Annotated[
        int | None,
        Field(ge=1, description="Train and measure on so many images alone: a check of the set-up."),
    ] = None
    evaluate_every: Annotated[int | None, Field(ge=1, description="Steps; null: ten times a run.")] = None
    checkpoint_every: Annotated[int | None, Field(ge=1, description="Steps; null: every 30 s.")] = None
    device: Annotated[str, Field(max_length=16, description="`auto` is the worker's own.")] = "auto"
    priority: Annotated[int, Field(ge=-100, le=100, description="Higher first.")] = 0
    model: Annotated[
        str | None,
        Field(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$",
            description="Name to publish under; `<dataset>-<detector>` without one.",
        ),
    ] = None


class Transition(BaseModel):
    """When a job went to a state, and why."""

    state: str
    at: float
    detail: str | None


class Job(BaseModel):
    """One job: what was asked for, defaults filled in, and what came of it. Times are seconds since 1970."""

    model_config = ConfigDict(extra="allow")

    id: str
    kind: str
    state: Literal["queued", "running", "succeeded", "failed", "cancelling", "cancelled", "interrupted"]
    created_at: float
    dataset: str
    detector: str
    epochs: int | None
    steps: int | None
    budget_seconds: float | None
    batch_size: int
    input_size: int
    preset: str
    assigner: dict[str, Any]
    loss: dict[str, Any]
    seed: int
    device: str
    priority: int
    model: str
    queue_position: int | None
    transitions: list[Transition]
    progress: dict[str, Any]
    metrics: dict[str, Any]
    error: dict[str, Any] | None
    result: dict[str, Any] | None
    stop_reason: str | None
    worker: str | None
    links: dict[str, str | None]
