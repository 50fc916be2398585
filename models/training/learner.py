"""What learns: a network, the average that follows it, an optimizer and a loss; one step at a time."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from posneg.models.criterion import Breakdown, criterion
from posneg.models.data.loading import TrainingBatch
from posneg.models.detectors import detector as detectors
from posneg.models.detectors._contract import Detector
from posneg.models.presets import resolve
from posneg.models.training.average import Average
from posneg.models.training.config import TrainConfig
from posneg.models.training.evaluation import as_input
from posneg.models.training.generators import seeded
from posneg.models.training.schedule import average_decay
from posneg.models.types import Batch, GroundTruth

LEARNING_RATE = 4e-3  # for batches of LEARNING_RATE_BATCH images; by the root of the size for others
LEARNING_RATE_BATCH = 16
LARGEST_GRADIENT_NORM = 10.0


class NonFiniteLoss(ArithmeticError):
    """A loss or gradient that is infinite or not a number: training cannot go on from it."""


class Learner:
    """Everything of a run that changes with a step, the step count aside."""

    def __init__(self, config: TrainConfig, *, classes: int, device: torch.device) -> None:
        self.device = device
        self.recipe = resolve(config.preset, assigner=config.assigner, loss=config.loss)
        with seeded(config.seed, device):
            network: Detector = detectors[config.detector](classes=classes)
        self.network = network.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.average = Average(self.network)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.network, weight_decay=config.weight_decay), fused=True
        )
        scaled = LEARNING_RATE * math.sqrt(config.batch_size / LEARNING_RATE_BATCH)
        self.learning_rate = config.learning_rate if config.learning_rate is not None else scaled

    def learn(self, batch: TrainingBatch, *, step: int, learning_rate: float) -> Breakdown:
        """One step (from 0) on a batch; raises `NonFiniteLoss` before a weight is touched."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        breakdown = self.loss(batch)
        self.optimizer.zero_grad()
        breakdown.total.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), LARGEST_GRADIENT_NORM)
        if not bool(torch.isfinite(breakdown.total.detach() + norm)):
            raise NonFiniteLoss(_complaint(breakdown, step))
        self.optimizer.step()
        self.average.update(self.network, decay=average_decay(step))
        return breakdown

    def loss(self, batch: TrainingBatch) -> Breakdown:
        """The criterion on a batch, with gradients; the network in bfloat16 where the device is a GPU."""
        images = as_input(batch.images.to(self.device, non_blocking=True))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            raw = self.network(images)
        truth = _moved(batch.ground_truth, self.device)
        predictions = self.network.predictions(raw)
        extent = images.new_tensor([images.shape[3], images.shape[2]]).expand(len(predictions.image), 2)
        predictions = replace(predictions, extent=extent)
        whole = Batch(predictions=predictions, ground_truth=truth, images=len(images))
        return criterion(self.recipe, whole)

    def state(self) -> dict[str, Any]:
        """All that `restore` needs."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.network.load_state_dict(state["network"])
        self.average.network.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])


def parameter_groups(network: nn.Module, *, weight_decay: float) -> list[dict[str, Any]]:
    """Weights of convolutions decay; biases and what belongs to normalization do not."""
    parameters = list(network.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _moved(truth: GroundTruth, device: torch.device) -> GroundTruth:
    return GroundTruth(
        boxes=truth.boxes.to(device),
        labels=truth.labels.to(device),
        image=truth.image.to(device),
        ignore=truth.ignore.to(device),
        weight=truth.weight.to(device),
    )


def _complaint(breakdown: Breakdown, step: int) -> str:
    terms = ", ".join(f"{name} {term.value.item():g}" for name, term in breakdown.terms.items())
    return (
        f"the loss or its gradient is not finite at step {step + 1}: {terms}; lower the learning rate, or "
        "look for boxes that the loss cannot take"
    )
