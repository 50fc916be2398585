"""What to train and for how long: plain data, checked when it is made, the same in JSON. No torch here."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le

from posneg.models.data.augmentation import Augmentation
from posneg.models.detectors import detector as detectors
from posneg.models.presets import preset as presets
from posneg.models.registry import InvalidOptions, OptionError, check, fitted

LENGTHS = ("epochs", "steps", "budget_seconds")
NESTED = ("assigner", "loss", "augmentation")  # objects whose fields are checked by whom they are for
LARGEST_STRIDE = 32
DEFAULT_EPOCHS = 60
DEFAULT_STEPS = (600, 6000)  # at least, at most
DEFAULT_OVERFIT_STEPS = 200
DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One training run. Every default is a run that works.

    At most one of `epochs`, `steps` and `budget_seconds` says how long it is; without any, the number of
    images does (`default_steps`). `budget_clock` is what a budget counts: elapsed time, or CPU time of the
    process. `overfit` trains on so many images without augmentation and measures on the same: a sanity check
    of data and settings. `preset`, `assigner` and `loss` are those of `/v1/losses`. `learning_rate` belongs
    to a batch of `batch_size`; None follows its root. `evaluate_every` and `checkpoint_every` count steps;
    None leaves both to the length of the run. `threads` (of torch on the CPU) and `workers` (that prepare
    images) None: as the machine has them.
    """

    detector: str = "nano"
    epochs: Annotated[int, Ge(1)] | None = None
    steps: Annotated[int, Ge(1)] | None = None
    budget_seconds: Annotated[float, Gt(0)] | None = None
    budget_clock: Literal["wall", "cpu"] = "wall"
    batch_size: Annotated[int, Ge(1), Le(1024)] = 16
    input_size: Annotated[int, Ge(32), Le(2048)] = 320
    preset: str = "yolov8"
    assigner: Mapping[str, Any] = field(default_factory=dict)
    loss: Mapping[str, Any] = field(default_factory=dict)
    augmentation: Mapping[str, Any] = field(default_factory=dict)
    learning_rate: Annotated[float, Gt(0)] | None = None
    weight_decay: Annotated[float, Ge(0)] = 0.03
    seed: Annotated[int, Ge(0), Le(2**63 - 1)] = 0
    device: str = "auto"
    overfit: Annotated[int, Ge(1)] | None = None
    evaluate_every: Annotated[int, Ge(1)] | None = None
    checkpoint_every: Annotated[int, Ge(1)] | None = None
    threads: Annotated[int, Ge(1), Le(1024)] | None = None
    workers: Annotated[int, Ge(0), Le(64)] | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be trained, all of it at once."""
        _refuse(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Every field, as JSON has it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrainConfig":
        """The configuration that `to_dict` gave, or some of its fields; unknown ones are named."""
        _refuse(values)
        plain = {name: value for name, value in values.items() if name not in NESTED}
        return cls(**{**values, **fitted(cls, plain)})


def _refuse(values: Mapping[str, Any]) -> None:
    """Raise `InvalidOptions` with everything that is wrong with some fields."""
    plain = {name: value for name, value in values.items() if name not in NESTED}
    problems = [*check(TrainConfig, plain), *_unfit_objects(values)]
    faulty = {problem.path[0] for problem in problems}
    sound = {name: value for name, value in values.items() if name not in faulty}
    problems += _unfit(sound)
    if problems:
        raise InvalidOptions(problems)


def _unfit_objects(values: Mapping[str, Any]) -> Iterator[OptionError]:
    """Nested options that are none, or that augmentation does not have."""
    for name in NESTED:
        if not isinstance(options := values.get(name, {}), Mapping):
            yield OptionError(f"{options!r} is no object of options", (name,))
        elif name == "augmentation":
            for problem in Augmentation.problems(options):
                yield OptionError(str(problem), (name, *problem.path))


def _unfit(values: Mapping[str, Any]) -> Iterator[OptionError]:
    """What is wrong beyond types and bounds."""
    for name, known in (("detector", detectors), ("preset", presets)):
        if name in values and values[name] not in known:
            yield OptionError(f"no {name} {values[name]!r}; known: {', '.join(known)}", (name,))
    lengths = [name for name in LENGTHS if values.get(name) is not None]
    if len(lengths) > 1:
        yield OptionError(f"{' and '.join(lengths)} both say how long; give one of them", (lengths[1],))
    size = values.get("input_size", 0)
    if size % LARGEST_STRIDE:
        low = size - size % LARGEST_STRIDE
        detail = f"{size} is no multiple of {LARGEST_STRIDE}, the largest stride"
        yield OptionError(f"{detail}; use {low} or {low + LARGEST_STRIDE}", ("input_size",))
    if not DEVICE.fullmatch(values.get("device", "auto")):
        yield OptionError(
            f"{values['device']!r} is none of auto, cpu, cuda, cuda:0, cuda:1, ...", ("device",)
        )


def default_steps(images: int, *, batch_size: int) -> int:
    """How long to train on so many images: 60 epochs, but at least 600 and at most 6000 steps."""
    low, high = DEFAULT_STEPS
    return min(max(round(DEFAULT_EPOCHS * images / batch_size), low), high)


def total_steps(config: TrainConfig, images: int) -> int | None:
    """The number of steps that a run on so many images takes; None where a time budget decides."""
    if config.budget_seconds is not None:
        return None
    if config.steps is not None:
        return config.steps
    batch_size = effective_batch_size(config, images)
    if config.epochs is not None:
        return math.ceil(config.epochs * images / batch_size)
    return DEFAULT_OVERFIT_STEPS if config.overfit else default_steps(images, batch_size=batch_size)


def effective_batch_size(config: TrainConfig, images: int) -> int:
    """A batch never shows an image twice on purpose."""
    return min(config.batch_size, images)
