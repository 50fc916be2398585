"""What holds for the whole repository: sizes, layers, and that the documentation keeps up with the code."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from posneg.service import problems, reference  # noqa: F401 - loads every kind of problem
from posneg.service.errors import ServiceError, kinds
from posneg.service.settings import Settings

ROOT = Path(__file__).parent.parent
MAX_LINES = 400
FOLDERS = ("models", "service", "tests", "benchmarks")


def sources() -> Iterator[Path]:
    """Every Python file that we write."""
    for folder in FOLDERS:
        yield from (ROOT / folder).rglob("*.py")


def test_files_fit_in_a_head() -> None:
    """No file has more than 400 lines."""
    long = {str(file.relative_to(ROOT)): lines for file in sources() if (lines := count(file)) > MAX_LINES}
    assert long == {}


def count(file: Path) -> int:
    """Lines of a file."""
    return len(file.read_text().splitlines())


def test_imports_go_one_way() -> None:
    """The contracts in pyproject.toml hold."""
    command = [str(Path(sys.executable).parent / "lint-imports")]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout


def test_nothing_is_left_for_later() -> None:
    """What is to be done stands in an issue, not in the source."""
    marks = ("TO" + "DO", "FIX" + "ME", "XX" + "X")
    found = [str(file) for file in sources() if any(mark in file.read_text() for mark in marks)]
    assert found == []


def test_every_setting_is_documented() -> None:
    """docs/settings.md is what the settings say of themselves, and each says something."""
    assert all(field.description for field in Settings.model_fields.values())
    assert (ROOT / "docs" / "settings.md").read_text() == reference.settings_page(), "run `make catalog`"


def test_every_problem_is_documented() -> None:
    """docs/problems.md has each code with its meaning, which no kind inherits from another."""
    assert (ROOT / "docs" / "problems.md").read_text() == reference.problems_page(), "run `make catalog`"
    for kind in kinds().values():
        assert {"code", "title", "meaning"} <= set(vars(kind)), kind


def test_problems_are_defined_in_one_place() -> None:
    """A kind that is defined elsewhere would be missing from the documentation until it is imported."""
    elsewhere = [kind for kind in subclasses(ServiceError) if kind.__module__ != ServiceError.__module__]
    assert elsewhere == []


def subclasses(kind: type) -> Iterator[type]:
    """All of them, in depth."""
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)
