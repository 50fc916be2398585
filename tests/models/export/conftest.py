"""A detector and images to export and compare."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.models.export.tiny import TinyDetector


@pytest.fixture(scope="session")
def detector() -> nn.Module:
    """A detector with random weights, in training mode, as it comes out of training."""
    torch.manual_seed(0)
    return TinyDetector().train()


@pytest.fixture(scope="session")
def images() -> list[np.ndarray]:
    """Three images of different sizes."""
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (h, w, 3), np.uint8) for h, w in ((64, 96), (50, 40), (200, 333))]
