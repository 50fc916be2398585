"""docs/ci.md, run as a newcomer would."""

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "ci.md"


def test_every_command_does_what_the_page_says(tmp_path: Path) -> None:
    """Each block runs in the same folder, in order, and ends as it says."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    assert len(blocks) > 5
    for block in blocks:
        stated = re.findall(r"# exits with (\d)", block)
        result = subprocess.run(
            ["bash", "-e", "-c", block],
            cwd=tmp_path,
            env=os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == int(stated[-1] if stated else 0), (block, result.stdout, result.stderr)
