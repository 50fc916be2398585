"""The random generators that a process shares: torch's, Python's, NumPy's.

Nothing here draws from the last two; whoever adds a layer or a view that does still gets resumable runs.
"""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Draw as if freshly seeded; afterwards the generators of the process and of `device` are as before."""
    before = states(device)
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        restore(before, device)


def states(device: torch.device) -> dict[str, Any]:
    """The state of every generator, as values that a checkpoint may hold; other GPUs are left asleep."""
    version, internal, gauss = random.getstate()
    numpy = dict(np.random.get_state(legacy=False))
    numpy["state"] = {**numpy["state"], "key": torch.from_numpy(numpy["state"]["key"].astype(np.int64))}
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "python": [version, list(internal), gauss],
        "numpy": numpy,
    }


def restore(before: Mapping[str, Any], device: torch.device) -> None:
    """Put every generator back to where `states` found it, a GPU's too if there was one and is one."""
    torch.set_rng_state(before["torch"])
    if before["cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(before["cuda"], device)
    version, internal, gauss = before["python"]
    random.setstate((version, tuple(internal), gauss))
    numpy = before["numpy"]
    np.random.set_state({**numpy, "state": {**numpy["state"], "key": numpy["state"]["key"].numpy()}})
