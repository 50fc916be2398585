"""A newcomer's clone with nothing set up: `make run` leads to a ready service, `make test` passes."""

import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import httpx

from benchmarks.acceptance.outcome import passed, require

ROOT = Path(__file__).parents[2]
PORT = 8765
READY = f"http://127.0.0.1:{PORT}/readyz"


def make_run(clone: Path, limit_s: float) -> tuple[float, float]:
    """Seconds from `make run` to ready, and from the program's start to ready; ends it again."""
    environment = {
        k: v for k, v in os.environ.items() if not k.startswith(("POSNEG_", "VIRTUAL_ENV", "MAKE"))
    }
    environment["POSNEG_PORT"] = str(PORT)
    began = time.monotonic()
    process = subprocess.Popen(["make", "run"], cwd=clone, env=environment, start_new_session=True)
    started = None
    try:
        while time.monotonic() - began < limit_s:
            if started is None and (clone / "posneg-data").exists():
                started = time.monotonic()
            try:
                if httpx.get(READY, timeout=1).status_code == 200:
                    return time.monotonic() - began, _age_s(process.pid)
            except httpx.TransportError:
                time.sleep(0.02)  # not a test: polling from outside is what a newcomer does
        require(False, f"make run is ready within {limit_s:.0f} s", "it is not")
        raise AssertionError
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(30)


def _age_s(make: int) -> float:
    """How long ago the service itself was started, from the table of processes."""
    children = subprocess.run(
        ["ps", "-o", "etimes=,pid=,args=", "--ppid", str(make)], capture_output=True, text=True
    )
    pid = next(line.split()[1] for line in children.stdout.splitlines() if "posneg serve" in line)
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return uptime - ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "posneg"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        first, _ = make_run(clone, 900)
        passed("make run on a fresh clone leads to a ready service", f"{first:.0f} s with all set-up")
        second, service = min(make_run(clone, 60) for _ in range(3))
        require(second < 5, "a second make run is ready in under 5 s", f"{second:.2f} s")
        require(service < 2, "the service is ready in under 2 s", f"{service:.2f} s")
        passed("a second make run", f"ready in {second:.2f} s, the service in {service:.2f} s of that")
        tests = subprocess.run(["make", "test"], cwd=clone, check=False)
        require(tests.returncode == 0, "make test passes on a fresh clone", tests.returncode)
        passed("make test on a fresh clone")
