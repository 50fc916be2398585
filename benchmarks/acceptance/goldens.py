"""Golden vectors and invariants: the tests that hold them, counted."""

import subprocess
import sys

from benchmarks.acceptance.outcome import passed, require

FILES = (
    "tests/models/test_assigners.py",
    "tests/models/test_criterion.py",
    "tests/models/test_losses.py",
    "tests/service/engine",
)

if __name__ == "__main__":
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-o",
        "addopts=--import-mode=importlib",
        "-p",
        "no:cacheprovider",
        *FILES,
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    summary = run.stdout.strip().splitlines()[-1].strip("= ")
    require(run.returncode == 0, "golden vectors and invariants", summary)
    passed("golden vectors and invariants", summary)
