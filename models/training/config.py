"""What to train and for how long: plain data, checked when it is made, the same in JSON. No torch here."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
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
    to a batch of `batch_size`; None scales with it. `evaluate_every` and `checkpoint_every` count steps; None
    leaves both to the length of the run. `threads` (of torch on the CPU) and `workers` (that prepare images)
    None: as the machine has them.
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
        plain = {name: value for name, value in self.to_dict().items() if name not in NESTED}
        problems = list(check(type(self), plain))
        faulty = {problem.path[0] for problem in problems}
        problems += [problem for problem in self._unfit() if problem.path[0] not in faulty]
        if problems:
            raise InvalidOptions(problems)

    def _unfit(self) -> Iterator[OptionError]:
        """What is wrong beyond types and bounds."""
        if self.detector not in detectors:
            yield OptionError(f"no detector {self.detector!r}; known: {', '.join(detectors)}", ("detector",))
        if self.preset not in presets:
            yield OptionError(f"no preset {self.preset!r}; known: {', '.join(presets)}", ("preset",))
        lengths = [name for name in LENGTHS if getattr(self, name) is not None]
        if len(lengths) > 1:
            yield OptionError(f"{' and '.join(lengths)} both say how long; give one of them", (lengths[1],))
        if self.input_size % LARGEST_STRIDE:
            low = self.input_size - self.input_size % LARGEST_STRIDE
            detail = f"{self.input_size} is no multiple of {LARGEST_STRIDE}, the largest stride"
            yield OptionError(f"{detail}; use {low} or {low + LARGEST_STRIDE}", ("input_size",))
        if not DEVICE.fullmatch(self.device):
            yield OptionError(f"{self.device!r} is none of auto, cpu, cuda, cuda:0, cuda:1, ...", ("device",))
        yield from self._unfit_objects()

    def _unfit_objects(self) -> Iterator[OptionError]:
        for name in NESTED:
            if not isinstance(getattr(self, name), Mapping):
                yield OptionError(f"{getattr(self, name)!r} is no object of options", (name,))
                return
        try:
            Augmentation.of(self.augmentation)
        except InvalidOptions as error:
            for problem in error.problems:
                yield OptionError(str(problem), ("augmentation", *problem.path))

    def to_dict(self) -> dict[str, Any]:
        """Every field, as JSON has it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrainConfig":
        """The configuration that `to_dict` gave, or some of its fields; unknown ones are named."""
        known = [f.name for f in fields(cls)]
        unknown = [
            OptionError(f"no field {name!r}; known: {', '.join(known)}", (name,))
            for name in values
            if name not in known
        ]
        if unknown:
            raise InvalidOptions(unknown)
        plain = {name: value for name, value in values.items() if name not in NESTED}
        if problems := list(check(cls, plain)):
            raise InvalidOptions(problems)
        return cls(**{**values, **fitted(cls, plain)})


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
        return max(round(config.epochs * images / batch_size), 1)
    return DEFAULT_OVERFIT_STEPS if config.overfit else default_steps(images, batch_size=batch_size)


def effective_batch_size(config: TrainConfig, images: int) -> int:
    """A batch never shows an image twice on purpose."""
    return min(config.batch_size, images)
