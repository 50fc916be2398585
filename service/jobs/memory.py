"""Memory of the machine and its accelerators, and whether the system killed for want of it."""

import os
import shutil
import subprocess
from pathlib import Path

QUERY = ("--query-gpu=memory.total,memory.used", "--format=csv,noheader,nounits")
ASK_S = 5.0


def kills() -> int:
    """How many processes the kernel has killed for want of memory so far, in any control group."""
    return _numbers(Path("/proc/vmstat"), " ").get("oom_kill", 0)


def accelerated() -> bool:
    """Whether a CUDA device is there, found out without torch, which would take memory on it."""
    return shutil.which("nvidia-smi") is not None and bool(_smi("--list-gpus"))


def of(device: str) -> dict[str, int]:
    """Bytes of memory of a device (`cpu`, `cuda:0`): `total` and `available`; empty where none tells."""
    if not device.startswith("cuda"):
        return _host()
    index = device.partition(":")[2] or "0"
    visible = [v for v in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if v]
    if index.isdigit() and int(index) < len(visible):
        index = visible[int(index)]
    answer = _smi(f"--id={index}", *QUERY).split(",")
    if len(answer) != 2:
        return {}
    total, used = (int(mib) * 2**20 for mib in answer)
    return {"total": total, "available": total - used}


def _host() -> dict[str, int]:
    kib = _numbers(Path("/proc/meminfo"), ":")
    names = {"total": "MemTotal", "available": "MemAvailable"}
    return {name: kib[key] * 1024 for name, key in names.items() if key in kib}


def _smi(*arguments: str) -> str:
    """What nvidia-smi answers; empty where it fails."""
    try:
        done = subprocess.run(
            ["nvidia-smi", *arguments], capture_output=True, text=True, timeout=ASK_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _numbers(file: Path, separator: str) -> dict[str, int]:
    if not file.exists():
        return {}
    pairs = (line.partition(separator) for line in file.read_text().splitlines())
    return {name: int(rest.split()[0]) for name, _, rest in pairs if rest.split()}
