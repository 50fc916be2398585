"""`posneg check`: same is 0, one box shifted either way is 1, no baseline is 3."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.acceptance.outcome import passed, require
from posneg.service.schemas.loss_request import EXAMPLE

PROGRAM = Path(sys.executable).with_name("posneg")
CONFIG = "cases:\n  - name: article\n    request: request.json\nbaselines: baselines/\n"


def run(folder: Path, command: str) -> int:
    """The exit code of a command on the folder's cases."""
    words = [PROGRAM, command, "--config", folder / "posneg.yaml"]
    return subprocess.run(words, capture_output=True, check=False).returncode


def shifted(pixels: float) -> str:
    """The article's request with one predicted box moved to the right."""
    request = json.loads(json.dumps(EXAMPLE))
    box = request["images"][0]["predictions"][0]["box"]
    box[0] += pixels
    box[2] += pixels
    return json.dumps(request)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "posneg.yaml").write_text(CONFIG)
        (folder / "request.json").write_text(shifted(0))
        for wanted, what in ((3, "without a baseline"), (0, "recorded"), (0, "unchanged")):
            code = run(folder, "record" if what == "recorded" else "check")
            require(code == wanted, f"posneg check, {what}", code)
            passed(f"posneg check, {what}", f"exit code {code}")
        for pixels in (0.5, -0.5):
            (folder / "request.json").write_text(shifted(pixels))
            code = run(folder, "check")
            require(code == 1, f"posneg check, one box moved by {pixels} px", code)
            passed(f"posneg check, one box moved by {pixels} px", f"exit code {code}")
