"""Recording and checking with the real engine, on a small COCO pair."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from posneg.service import engine
from posneg.service.checks import run
from posneg.service.checks.config import Config, load
from posneg.service.errors import BadRequest, Conflict, InvalidRequest, NotFound, Unavailable
from posneg.service.schemas import losses

TRUTH: dict[str, Any] = {
    "images": [{"id": i, "file_name": f"{i}.jpg", "width": 640, "height": 480} for i in (7, 8)],
    "categories": [{"id": 1, "name": "car"}, {"id": 3, "name": "person"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 1, "bbox": [100, 50, 110, 100], "iscrowd": 0},
        {"id": 2, "image_id": 7, "category_id": 3, "bbox": [300, 50, 70, 200], "iscrowd": 0},
        {"id": 3, "image_id": 8, "category_id": 1, "bbox": [10, 10, 50, 40], "iscrowd": 0},
    ],
}
FOUND: list[dict[str, Any]] = [
    {"image_id": 7, "category_id": 1, "bbox": [110, 50, 110, 100], "score": 0.9},
    {"image_id": 7, "category_id": 3, "bbox": [310, 50, 70, 200], "score": 0.6},
    {"image_id": 7, "category_id": 1, "bbox": [10, 50, 110, 100], "score": 0.2},
    {"image_id": 8, "category_id": 1, "bbox": [12, 11, 50, 40], "score": 0.7},
]
CASES = """
cases:
  - name: pair/textbook
    coco: {ground_truth: truth.json, predictions: found.json}
    preset: textbook
  - name: pair/yolov8
    coco: {ground_truth: truth.json, predictions: found.json}
    preset: yolov8
    tolerance: {terms: {box: {rtol: 1e-7}}}
"""


def answer(body: bytes) -> dict[str, Any]:
    """The real engine."""
    return engine.answer(losses.parse(body), loss=True)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Config]:
    """A folder with a pair and its cases; called again it rewrites what is given."""

    def write(*, found: Any = None, cases: str = CASES) -> Config:
        (tmp_path / "truth.json").write_text(json.dumps(TRUTH))
        (tmp_path / "found.json").write_text(json.dumps(FOUND if found is None else found))
        (tmp_path / "posneg.yaml").write_text(cases)
        return load(tmp_path / "posneg.yaml")

    return write


def shifted(pixels: float) -> list[dict[str, Any]]:
    """The predictions with the first box moved to the right."""
    x, *rest = FOUND[0]["bbox"]
    return [FOUND[0] | {"bbox": [x + pixels, *rest]}, *FOUND[1:]]


def test_same_after_recording(write: Callable[..., Config], tmp_path: Path) -> None:
    """What was just recorded is the same, and recording says where it lies."""
    config = write()

    assert list(run.record(config, answer)) == [
        tmp_path / "baselines" / "pair" / "textbook.json",
        tmp_path / "baselines" / "pair" / "yolov8.json",
    ]
    report = run.check(config, answer)

    assert (report.verdict, report.compared, report.exit_code("any")) == ("same", 2, 0)


@pytest.mark.parametrize("pixels", [1.0, -1.0, 1e-3, -1e-3])
def test_shifted_box_is_a_move(pixels: float, write: Callable[..., Config]) -> None:
    """Towards its ground truth or away, by a pixel or a thousandth: a move, with its cause."""
    run.record(write(), answer)

    report = run.check(write(found=shifted(pixels)), answer)

    assert report.exit_code() == 1
    for case in report.cases:
        assert case.comparison is not None
        assert [cause.detail for cause in case.comparison.causes] == ["inputs changed: predictions"]


def test_shift_within_tolerance_is_the_same(write: Callable[..., Config]) -> None:
    """Where inputs may be others, a relative tolerance forgives its own term, and no other."""
    tolerance = "tolerance: {terms: {box: {rtol: 0.2}}, inputs: any}"
    loose = CASES.replace("preset: textbook", f"preset: textbook\n    {tolerance}")
    run.record(write(cases=loose), answer)

    report = run.check(write(found=shifted(1.0), cases=loose), answer)

    assert [case.verdict for case in report.cases] == ["same", "moved"]


def test_lost_positive_is_a_flip(write: Callable[..., Config]) -> None:
    """A box moved far away is no longer matched: the flip names the prediction and why."""
    run.record(write(), answer, "pair/textbook")

    (case,) = run.check(write(found=shifted(100.0)), answer, "pair/textbook").cases

    assert case.comparison is not None
    (flip,) = case.comparison.flips
    assert (flip.image, flip.prediction) == (7, 0)
    assert flip.now is not None
    assert flip.now.reason == "BELOW_THRESHOLD"


def test_order_of_images_does_not_matter(write: Callable[..., Config], tmp_path: Path) -> None:
    """Other order of images, results and keys: the same bytes in the baseline."""
    file = tmp_path / "baselines" / "pair" / "textbook.json"
    run.record(write(), answer)
    before = file.read_bytes()
    file.unlink()
    config = write(found=[dict(reversed(row.items())) for row in (FOUND[3], *FOUND[:3])])

    run.record(config, answer, "*/textbook")

    assert file.read_bytes() == before


def test_missing_baseline(write: Callable[..., Config]) -> None:
    """A case that was never recorded is not the same as anything."""
    report = run.check(write(), answer)

    assert (report.verdict, report.exit_code()) == ("inconclusive", 3)


def test_stale_baseline(write: Callable[..., Config], tmp_path: Path) -> None:
    """A renamed case leaves a file behind, which is named."""
    run.record(write(), answer)
    config = write(cases=CASES.replace("pair/yolov8", "pair/renamed"))
    run.record(config, answer, "pair/renamed")

    report = run.check(config, answer)

    assert report.stale == (str(tmp_path / "baselines" / "pair" / "yolov8.json"),)
    assert report.exit_code() == 3


def test_recording_never_overwrites(write: Callable[..., Config], tmp_path: Path) -> None:
    """One recorded case stops all: nothing is written, and a pattern records the others."""
    config = write()
    run.record(config, answer, "*/textbook")

    with pytest.raises(Conflict, match=r"textbook\.json: recorded already"):
        run.record(config, answer)
    assert not (tmp_path / "baselines" / "pair" / "yolov8.json").exists()
    with pytest.raises(NotFound, match="no case to record"):
        run.record(config, answer, "nothing*")

    run.record(config, answer, "*/yolov8")
    assert run.check(config, answer).exit_code() == 0


def test_unreadable_input_stops_no_other_case(write: Callable[..., Config]) -> None:
    """Its case says so, the others are compared, and the exit code is the gravest."""
    run.record(write(), answer)
    cases = CASES.replace("predictions: found.json}\n    preset: textbook", "predictions: lost.json}")

    report = run.check(write(cases=cases), answer)

    assert [type(case.problem) for case in report.cases] == [BadRequest, type(None)]
    assert (report.compared, report.exit_code()) == (1, 2)


def test_refused_input_points_into_the_file(write: Callable[..., Config]) -> None:
    """A bad element keeps its pointer."""
    run.record(write(), answer)
    bad = [FOUND[0] | {"bbox": [1, 2, 3]}, *FOUND[1:]]

    (case, _) = run.check(write(found=bad), answer).cases

    assert isinstance(case.problem, InvalidRequest)
    assert case.problem.faults[0].pointer == "/coco/predictions/0/bbox"


def test_tolerance_of_a_term_that_is_not_there(write: Callable[..., Config]) -> None:
    """A misspelt term must not leave its tolerance unused without a word."""
    config = write(cases=CASES.replace("terms: {box:", "terms: {boxes:"))

    with pytest.raises(InvalidRequest, match=r"boxes.*its terms are box, classification, dfl"):
        run.record(config, answer)


def test_unreachable_service_comes_before_a_missing_baseline(write: Callable[..., Config]) -> None:
    """5 before 3, and one case's trouble is told for each case."""

    def unreachable(body: bytes) -> dict[str, Any]:
        raise Unavailable("nobody there")

    report = run.check(write(), unreachable)

    assert report.exit_code() == 5
    assert all(isinstance(case.problem, Unavailable) for case in report.cases)


def test_changed_preset_is_a_move(write: Callable[..., Config]) -> None:
    """Another recipe than the recorded one is a move, with the parameters that changed as causes."""
    run.record(write(), answer)
    config = write(cases=CASES.replace("preset: textbook", "preset: textbook\n    assigner: {topk: 12}"))

    (case, _) = run.check(config, answer).cases

    assert case.verdict == "moved"
    assert case.comparison is not None
    assert [cause.detail for cause in case.comparison.causes] == ["assigner.topk 13 → 12"]


def test_request_case_takes_overrides_field_by_field(write: Callable[..., Config], tmp_path: Path) -> None:
    """A request file with a recipe laid over its own."""
    box = {"label": "a", "box": [0, 0, 10, 10]}
    image = {"id": 1, "ground_truth": [box], "predictions": [{**box, "score": 0.5}]}
    request = {
        "images": [image],
        "assigner": {"topk": 5},
        "loss": {"box": {"weight": 2.0}},
        "detail": "summary",
    }
    (tmp_path / "request.json").write_text(json.dumps(request))
    cases = "cases: [{name: one, request: request.json, loss: {box: {beta: 0.5}}}]"

    ((_, recorded),) = run.record(write(cases=cases), answer).items()

    assert recorded.resolved["assigner"]["topk"] == 5
    assert (recorded.resolved["loss"]["box"]["weight"], recorded.resolved["loss"]["box"]["beta"]) == (
        2.0,
        0.5,
    )
    assert recorded.images[0].predictions == 1
