"""An ONNX file is untrusted until a child process has loaded and run it."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from posneg.service.errors import InvalidRequest
from posneg.service.serving.wishes import Wishes

TIMEOUT_S = 120.0
# The child gets nothing that could be worth stealing: no key, no database.
ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR")


def inspect(file: Path, wishes: Wishes, *, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """What a child process found out about `file`; blocks. `InvalidRequest`: the file is not to be served."""
    command = [sys.executable, "-P", "-m", "posneg.service.serving.probe", str(file.resolve())]
    environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    try:
        child = subprocess.run(
            [*command, json.dumps(asdict(wishes))],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        detail = f"the model did not load and answer within {timeout_s:g} s"
        raise InvalidRequest.at("", detail, "model_too_slow") from error
    if child.returncode != 0:
        detail = f"the model brought down the process that tried it (exit status {child.returncode})"
        raise InvalidRequest.at("", detail, "model_crashes")
    found: dict[str, Any] = json.loads(child.stdout)
    if "fault" in found:
        fault = found["fault"]
        pointer = f"/query/{fault['parameter']}" if fault["parameter"] else ""
        raise InvalidRequest.at(pointer, fault["detail"], fault["code"])
    return found
