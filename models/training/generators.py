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
def seeded(seed: int) -> Iterator[None]:
    """Draw as if freshly seeded; afterwards every generator is as before."""
    before = states()
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        restore(before)


def states() -> dict[str, Any]:
    """The state of every generator, as values that a checkpoint may hold."""
    version, internal, gauss = random.getstate()
    numpy = dict(np.random.get_state(legacy=False))
    numpy["state"] = {**numpy["state"], "key": torch.from_numpy(numpy["state"]["key"].astype(np.int64))}
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "python": [version, list(internal), gauss],
        "numpy": numpy,
    }


def restore(before: Mapping[str, Any]) -> None:
    """Put every generator back to where `states` found it; those of a GPU only on as many GPUs."""
    torch.set_rng_state(before["torch"])
    if torch.cuda.is_available() and len(before["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(before["cuda"])
    version, internal, gauss = before["python"]
    random.setstate((version, tuple(internal), gauss))
    numpy = before["numpy"]
    np.random.set_state({**numpy, "state": {**numpy["state"], "key": numpy["state"]["key"].numpy()}})
