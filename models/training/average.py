"""The weights that are evaluated and exported: an exponential moving average of those that are trained."""

import copy

import torch

from posneg.models.detectors._contract import Detector


class Average:
    """A copy of a network that follows it, running statistics included."""

    def __init__(self, network: Detector) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, network: Detector, *, decay: float) -> None:
        """Move towards `network`, keeping the share `decay`; whole numbers (batch counts) are copied."""
        mine, theirs = self.network.state_dict(), network.state_dict()
        moving = [name for name, value in mine.items() if value.is_floating_point()]
        torch._foreach_lerp_([mine[name] for name in moving], [theirs[name] for name in moving], 1 - decay)
        for name, value in mine.items():
            if not value.is_floating_point():
                value.copy_(theirs[name])
