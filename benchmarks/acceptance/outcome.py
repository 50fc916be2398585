"""How acceptance runs report, and where their larger inputs lie."""

import os
import sys
from pathlib import Path
from typing import NoReturn


def passed(what: str, figure: str = "") -> None:
    """Print that a line holds, with its figure."""
    print(f"PASS {what}" + (f": {figure}" if figure else ""), flush=True)


def require(condition: bool, what: str, seen: object = "") -> None:
    """End with exit code 1 where a line does not hold."""
    if not condition:
        print(f"FAIL {what}: {seen}", flush=True)
        raise SystemExit(1)


def test_data(name: str) -> Path:
    """A larger input, by the folder that POSNEG_TEST_DATA names; ends the run with a reason without it."""
    root = os.environ.get("POSNEG_TEST_DATA")
    path = Path(root or "") / name
    if root is None or not path.exists():
        skip(f"needs {name} below the folder that POSNEG_TEST_DATA names")
    return path


def skip(reason: str) -> NoReturn:
    """End without a verdict, and say why."""
    print(f"SKIP {reason}", flush=True)
    sys.exit(0)
