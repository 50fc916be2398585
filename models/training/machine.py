"""Where a run computes: device, threads, workers."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

WORKERS_FOR_CUDA = 8


def named_device(name: str) -> torch.device:
    """The device of a name; `auto` takes a GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device {name!r} is not here: {torch.cuda.device_count()} CUDA devices are; use cpu or auto"
        )
    return device


def loader_workers(asked: int | None, device: torch.device) -> int:
    """Threads that prepare images: beside a GPU one a core, at most 8; a CPU is busy enough."""
    if asked is not None:
        return asked
    return min(os.cpu_count() or 1, WORKERS_FOR_CUDA) if device.type == "cuda" else 0


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Let torch compute with `count` threads (None: as it is set); afterwards with as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
