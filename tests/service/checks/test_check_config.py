"""`posneg.yaml`: what it may say, and how faults are told."""

from pathlib import Path

import pytest

from posneg.service.checks.config import Tolerance, load
from posneg.service.errors import BadRequest, InvalidRequest

CASE = "cases:\n- name: a/b\n  coco: {ground_truth: gt.json, predictions: dt.json}\n"


def written(folder: Path, text: str) -> Path:
    file = folder / "posneg.yaml"
    file.write_text(text)
    return file


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    """Baselines lie beside the file, a folder a segment of the name."""
    config = load(written(tmp_path, CASE + "baselines: kept/\n"))

    assert config.folder == tmp_path
    assert config.baseline_file(config.cases[0]) == tmp_path / "kept" / "a" / "b.json"


def test_tolerance_falls_back_field_by_field(tmp_path: Path) -> None:
    """A term's own, then the case's default, then 1e-9 relative; `1e-7` is a number as in YAML 1.2."""
    tolerance = "  tolerance: {default: {atol: 1}, terms: {box: {rtol: 1e-7}}, flips: {max: 2}}\n"
    (case,) = load(written(tmp_path, CASE + tolerance)).cases

    assert case.tolerance.of("box") == Tolerance(rtol=1e-7, atol=1)
    assert case.tolerance.of("classification") == Tolerance(rtol=1e-9, atol=1)
    assert (case.tolerance.flips.max, case.tolerance.flips.tie_eps) == (2, 1e-9)


@pytest.mark.parametrize("text", ["cases: []", "cases:\n"])
def test_no_cases_can_be_said(text: str, tmp_path: Path) -> None:
    """An empty list is a valid file, if an inconclusive one."""
    assert load(written(tmp_path, text)).cases == ()


@pytest.mark.parametrize(
    ("text", "place", "detail"),
    [
        (CASE + "case: []\n", ":4: /case", "did you mean 'cases'?"),
        (CASE + "  tolerence: {}\n", ":4: /cases/0/tolerence", "did you mean 'tolerance'?"),
        (
            CASE + "  tolerance:\n    terms: {box: {rtl: 1}}\n",
            ":5: /cases/0/tolerance/terms/box/rtl",
            "'rtol'",
        ),
        (CASE + "  tolerance: {default: {rtol: -1}}\n", ":4: /cases/0/tolerance/default/rtol", "-1"),
        (CASE + "  tolerance: {default: {rtol: .inf}}\n", ":4: /cases/0/tolerance/default/rtol", "finite"),
        (CASE + "  tolerance: {default: {rtol: true}}\n", ":4: /cases/0/tolerance/default/rtol", "True"),
        (CASE + "  tolerance: {flips: {tie_eps: 0.1}}\n", ":4: /cases/0/tolerance/flips/tie_eps", "0.001"),
        (CASE + "  tolerance: {flips: {max: 1.5}}\n", ":4: /cases/0/tolerance/flips/max", "1.5"),
        (CASE + "  tolerance: 3\n", ":4: /cases/0/tolerance", "should be a mapping, not 3"),
        (CASE + "  request: r.json\n", ":2: /cases/0", "either coco"),
        (CASE + "- name: c\n", ":4: /cases/1", "either coco"),
        (
            CASE + "- name: c\n  model: {}\n",
            ":5: /cases/1/model",
            "this version checks coco and request cases",
        ),
        (CASE + "- name: a/b\n  request: r.json\n", ":4: /cases/1/name", "names another case as well"),
        (CASE.replace("a/b", "A"), ":2: /cases/0/name", "is no name"),
        (CASE.replace("a/b", "../b"), ":2: /cases/0/name", "is no name"),
        (CASE.replace("a/b", "a//b"), ":2: /cases/0/name", "is no name"),
        (CASE.replace("a/b", "a" * 129), ":2: /cases/0/name", "is no name"),
        (CASE.replace("a/b", "2024-01-01"), ":2: /cases/0/name", "string"),
        (
            CASE.replace("predictions", "predicted"),
            ":3: /cases/0/coco/predicted",
            "did you mean 'predictions'?",
        ),
        ("baselines: b\n", ":1: /cases", "is missing"),
        ("- name: a\n", ":1: /", "should be a mapping"),
        ("", ":1: /", "should be a mapping"),
    ],
)
def test_fault_is_told_with_its_place(text: str, place: str, detail: str, tmp_path: Path) -> None:
    """Line, pointer and what would do."""
    file = written(tmp_path, text)

    with pytest.raises(InvalidRequest) as caught:
        load(file)

    told = {fault.pointer: fault.detail for fault in caught.value.faults}
    assert detail in told[f"{file}{place}"]


def test_every_fault_is_told_in_the_order_of_the_file(tmp_path: Path) -> None:
    """One run tells everything that is to be mended."""
    with pytest.raises(InvalidRequest) as caught:
        load(written(tmp_path, CASE + "  a: 1\n  b: 2\n- name: B\n  request: r.json\n"))

    assert [f.pointer.split(": ")[1] for f in caught.value.faults] == [
        "/cases/0/a",
        "/cases/0/b",
        "/cases/1/name",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cases: [", "is not YAML"),
        ("cases: []\ncases: []\n", "found 'cases' twice"),
        ("cases: !!python/object:os.system {}\n", "is not YAML"),
        ("cases: &a [*a]\n", "nested too deeply|recursive"),
        ("[" * 2000, "nested too deeply|is not YAML"),
        ("\x00", "is not YAML"),
    ],
)
def test_broken_yaml_is_unreadable(text: str, message: str, tmp_path: Path) -> None:
    """Nothing is guessed, nothing is executed, nothing is silently dropped."""
    with pytest.raises(BadRequest, match=message):
        load(written(tmp_path, text))


def test_missing_file_is_named(tmp_path: Path) -> None:
    """The message says which file and why."""
    with pytest.raises(BadRequest, match=r"cannot read .*posneg\.yaml: No such file"):
        load(tmp_path / "posneg.yaml")
