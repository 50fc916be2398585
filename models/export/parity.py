"""Does the exported file answer like the detector? Detections are matched as sets: exact ties swap rows."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from jaxtyping import Float, Int, UInt8
from onnxruntime.capi import onnxruntime_pybind11_state as bindings
from scipy.optimize import linear_sum_assignment
from torch import nn

from posneg.models.detections import Detections, iou, non_maximum_suppression
from posneg.models.export.metadata import INPUT, OUTPUT, input_size_of
from posneg.models.export.onnx import frozen
from posneg.models.imaging import letterbox

Rows = Float[np.ndarray, "B N D"]  # D = 4 + number of classes

BOX_TOLERANCE_PX = 0.1
SCORE_TOLERANCE = 1e-3
SCORE_THRESHOLD = 0.05
IOU_THRESHOLD = 0.7
COLUMNS = ("cx", "cy", "w", "h")
SAME_BOX_IOU = 0.5  # detections that overlap less are not the same one
# onnxruntime's exceptions share no class but Exception.
RUNTIME_ERRORS = tuple(
    kind for kind in vars(bindings).values() if isinstance(kind, type) and issubclass(kind, Exception)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityReport:
    """How far the file's answers are from the detector's, and whether that is near enough.

    `max_box_px` and `max_score` are over matched detections, `max_raw_box_px` and `max_raw_score` over every
    row of the output. A detection that the other side has too, but beyond the score threshold or suppression,
    is `borderline`; one that it does not have is `unmatched`. `diverged` names what went wrong first.
    """

    ok: bool
    diverged: str | None
    images: int
    detections: int
    max_box_px: float
    max_score: float
    max_raw_box_px: float
    max_raw_score: float
    unmatched_detector: int
    unmatched_file: int
    borderline: int
    box_tolerance_px: float = BOX_TOLERANCE_PX
    score_tolerance: float = SCORE_TOLERANCE
    score_threshold: float = SCORE_THRESHOLD
    iou_threshold: float = IOU_THRESHOLD

    def to_json(self) -> dict[str, object]:
        """Every field, as JSON has it."""
        return asdict(self)


class ParityError(ValueError):
    """The file does not answer like the detector; `report` has the figures, where it answered at all."""

    def __init__(self, message: str, report: ParityReport | None = None) -> None:
        super().__init__(message)
        self.report = report


def parity(detector: nn.Module, file: Path, images: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> ParityReport:
    """The report for some images (RGB, any sizes); raises `ParityError` for an export not to be used."""
    if not images:
        raise ValueError("parity needs at least one image")
    session = _session(file)
    input_size = input_size_of(session.get_modelmeta().custom_metadata_map)
    tensor = np.stack([letterbox(image, input_size)[0] for image in images]).transpose(0, 3, 1, 2)
    scaled = np.ascontiguousarray(tensor, np.float32) / np.float32(255)
    with torch.no_grad():
        expected = frozen(detector)(torch.from_numpy(scaled)).numpy().transpose(0, 2, 1)
    actual = _run(session, scaled)
    if actual.shape != expected.shape:
        raise ParityError(
            f"output0 holds {actual.shape} (image, row, column), the detector gives {expected.shape}"
        )
    report = compare(expected, actual)
    if not report.ok:
        raise ParityError(f"the export does not answer like the detector: {report.diverged}", report)
    return report


def _session(file: Path) -> onnxruntime.InferenceSession:
    try:
        return onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    except RUNTIME_ERRORS as error:
        raise ParityError(f"the export does not load: {error}") from error


def _run(session: onnxruntime.InferenceSession, images: Float[np.ndarray, "B 3 H W"]) -> Rows:
    """The file's answer; the first image alone and the others together, so that both batches are tried."""
    batches = [batch for batch in (images[:1], images[1:]) if len(batch)]
    try:
        outputs = [session.run([OUTPUT], {INPUT: batch})[0] for batch in batches]
    except RUNTIME_ERRORS as error:
        raise ParityError(f"the export does not run: {error}") from error
    return np.concatenate(outputs).transpose(0, 2, 1)


def compare(expected: Rows, actual: Rows) -> ParityReport:
    """The report for two outputs of one shape: rows cx, cy, w, h in input pixels and class probabilities."""
    matches = [_match(a, b) for a, b in zip(expected, actual, strict=True)]
    report = ParityReport(
        ok=True,
        diverged=None,
        images=len(expected),
        detections=sum(m.matched for m in matches),
        max_box_px=max(m.max_box_px for m in matches),
        max_score=max(m.max_score for m in matches),
        max_raw_box_px=_largest(_corners(expected) - _corners(actual)),
        max_raw_score=_largest(expected[..., 4:] - actual[..., 4:]),
        unmatched_detector=sum(m.unmatched_expected for m in matches),
        unmatched_file=sum(m.unmatched_actual for m in matches),
        borderline=sum(m.borderline for m in matches),
    )
    diverged = _diverged_value(expected, actual) or _diverged_detection(report)
    return replace(report, ok=diverged is None, diverged=diverged)


def _diverged_value(expected: Rows, actual: Rows) -> str | None:
    """The first column, in order, with a value that is off by more than its tolerance, and its worst row."""
    for column in range(expected.shape[-1]):
        box = column < 4
        name = COLUMNS[column] if box else f"probability of class {column - 4}"
        tolerance = BOX_TOLERANCE_PX if box else SCORE_TOLERANCE
        wanted, got = expected[..., column], actual[..., column]
        off = np.abs(wanted - got)
        if np.all(off <= tolerance):  # false for NaN, which is never near anything
            continue
        image, row = np.unravel_index(np.nan_to_num(off, nan=np.inf).argmax(), off.shape)
        return (
            f"output0: {name} of row {row}, image {image}, is {got[image, row]:.6g} in the file and "
            f"{wanted[image, row]:.6g} from the detector (tolerance {tolerance})"
        )
    return None


def _diverged_detection(report: ParityReport) -> str | None:
    if unmatched := report.unmatched_detector + report.unmatched_file:
        return f"{unmatched} of {report.detections + unmatched} detections are found by one side alone"
    if report.max_box_px > BOX_TOLERANCE_PX:
        return f"a detection's box is off by {report.max_box_px:.4g} px (tolerance {BOX_TOLERANCE_PX})"
    if report.max_score > SCORE_TOLERANCE:
        return f"a detection's score is off by {report.max_score:.4g} (tolerance {SCORE_TOLERANCE})"
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Match:
    """How the detections of one image pair up."""

    matched: int
    max_box_px: float
    max_score: float
    unmatched_expected: int
    unmatched_actual: int
    borderline: int


def _match(expected: Float[np.ndarray, "N D"], actual: Float[np.ndarray, "N D"]) -> _Match:
    a, b = _detections(expected), _detections(actual)
    overlap = np.where(a.labels[:, None] == b.labels[None, :], iou(a.boxes, b.boxes), 0)
    rows, columns = linear_sum_assignment(overlap, maximize=True)
    same = overlap[rows, columns] >= SAME_BOX_IOU
    rows, columns = rows[same], columns[same]
    alone_a, alone_b = _without(a, rows), _without(b, columns)
    near_a, near_b = _borderline(alone_a, actual), _borderline(alone_b, expected)
    return _Match(
        matched=len(rows),
        max_box_px=_largest(a.boxes[rows] - b.boxes[columns]),
        max_score=_largest(a.scores[rows] - b.scores[columns]),
        unmatched_expected=len(alone_a) - near_a,
        unmatched_actual=len(alone_b) - near_b,
        borderline=near_a + near_b,
    )


def _detections(rows: Float[np.ndarray, "N D"]) -> Detections:
    return non_maximum_suppression(
        _corners(rows), rows[:, 4:], score_threshold=SCORE_THRESHOLD, iou_threshold=IOU_THRESHOLD
    )


def _without(detections: Detections, indices: Int[np.ndarray, "M"]) -> Detections:
    return Detections(
        boxes=np.delete(detections.boxes, indices, axis=0),
        scores=np.delete(detections.scores, indices),
        labels=np.delete(detections.labels, indices),
    )


def _borderline(alone: Detections, rows: Float[np.ndarray, "N D"]) -> int:
    """How many of one side's detections the other side's rows hold, before threshold and suppression."""
    corners = _corners(rows)
    near = 0
    for box, score, label in zip(alone.boxes, alone.scores, alone.labels, strict=True):
        same_box = np.abs(corners - box).max(axis=1) <= BOX_TOLERANCE_PX
        near += bool((same_box & (np.abs(rows[:, 4 + label] - score) <= SCORE_TOLERANCE)).any())
    return near


def _corners(rows: Float[np.ndarray, "*R D"]) -> Float[np.ndarray, "*R 4"]:
    center, half = rows[..., :2], rows[..., 2:4] / 2
    return np.concatenate([center - half, center + half], axis=-1)


def _largest(differences: Float[np.ndarray, "..."]) -> float:
    """The largest absolute value that is finite; 0 of none. What is not finite is named by `diverged`."""
    finite = differences[np.isfinite(differences)]
    return float(np.abs(finite).max(initial=0))
