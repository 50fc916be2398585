"""What the commands print: tables for people, JSON for machines."""

import sys
from collections.abc import Iterable
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from posneg.service.checks.forms import number
from posneg.service.checks.report import CaseReport, Report, delta, flip_line, notes

PIPE_WIDTH = 160  # where there is no terminal to fit into, columns must not be cut


class _Output(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the program: rich would exit with 1, which a check means as "moved"."""
        raise BrokenPipeError


def console() -> Console:
    """Standard output; wide where it is no terminal."""
    plain: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}  # ids are shown as they are
    terminal = _Output(**plain)
    return terminal if terminal.is_terminal else _Output(**plain, width=PIPE_WIDTH)


def print_json(value: Any) -> None:  # noqa: ANN401 - any JSON
    """JSON on standard output, as the service writes it."""
    sys.stdout.buffer.write(orjson.dumps(value) + b"\n")


def table(title: str, columns: Iterable[str], *, text: int = 1) -> Table:
    """A table whose first `text` columns are words and whose others are figures."""
    made = Table(title=title, title_justify="left", header_style="bold")
    for index, column in enumerate(columns):
        made.add_column(column, justify="left" if index < text else "right", overflow="fold")
    return made


def print_losses(answer: dict[str, Any], *, rows: int) -> None:
    """An answer of /v1/losses or /v1/assignments: terms, images, predictions."""
    out = console()
    if "terms" in answer:
        out.print(_terms(answer))
    out.print(_images(answer["images"], rows))
    if any(image.get("predictions") for image in answer["images"]):
        out.print(_predictions(answer["images"], rows))
    for warning in answer.get("warnings", []):
        out.print(Text(f"warning {warning['code']}: {warning['detail']}", style="yellow"), soft_wrap=True)
    if answer.get("verdict", "ok") != "ok":
        out.print(Text(f"verdict: {answer['verdict']}", style="bold red"), soft_wrap=True)


def _terms(answer: dict[str, Any]) -> Table:
    preset = answer["resolved"].get("preset") or "no preset"
    columns = ("term", "raw", "weight", "normalizer", "divisor", "value", "positive", "negative")
    made = table(f"Loss ({preset})", columns)
    for name, term in answer["terms"].items():
        divisor = term.get("normalizer") or {}
        figures = (term.get(key) for key in ("value", "positive", "negative"))
        made.add_row(
            name,
            number(term.get("raw")),
            number(term.get("weight")),
            str(divisor.get("name", "-")),
            number(divisor.get("used")),
            *map(number, figures),
        )
    made.add_section()
    made.add_row("total", "", "", "", "", number(answer["total"]), "", "")
    return made


def _images(images: list[dict[str, Any]], most: int) -> Table:
    counts = ("ground_truth", "ground_truth_unassigned", "predictions", "positive", "negative", "ignored")
    title = f"Images{_left_out(len(images), most)}"
    made = table(title, ("image", *(c.replace("_", " ") for c in counts), "total"))
    for image in images[:most]:
        total = number(image["total"]) if "total" in image else "-"
        made.add_row(str(image["id"]), *(str(image["counts"].get(c, "-")) for c in counts), total)
    return made


def _predictions(images: list[dict[str, Any]], most: int) -> Table:
    flat = [(image["id"], row) for image in images for row in image.get("predictions", [])]
    columns = ("image", "prediction", "state", "ground truth", "reason", "IoU", "margin")
    made = table(f"Predictions{_left_out(len(flat), most)}", columns, text=5)
    for image, row in flat[:most]:
        box = row.get("ground_truth") if row["state"] == "positive" else None
        made.add_row(
            str(image),
            _reference(row),
            row["state"],
            "-" if box is None else str(box),
            str(row.get("reason") or "-"),
            number(row.get("iou")),
            number(row.get("margin")),
        )
    return made


def _left_out(total: int, most: int) -> str:
    return f" (the first {most} of {total}; --rows or --json lists them)" if total > most else ""


def _reference(element: dict[str, Any]) -> str:
    return str(element["index"] if element.get("id") is None else element["id"])


def print_check(report: Report) -> None:
    """A check for people: the terms of each case, then every flip with its reason."""
    out = console()
    for case in report.cases:
        _print_case(out, case)
    for name in report.stale:
        out.print(Text(f"stale: {name} belongs to no case"), soft_wrap=True)
    summary = f"{report.verdict}: {report.compared} of {len(report.cases)} cases compared"
    out.print(Text(summary, style="bold"), soft_wrap=True)


def _print_case(out: Console, case: CaseReport) -> None:
    lines: list[str] = []
    if case.problem:
        lines = [f"{case.name}: {case.verdict}: {case.problem.detail}"]
        lines += [f"  {fault.pointer}: {fault.detail}" for fault in case.problem.faults]
    if found := case.comparison:
        made = table(f"{case.name}: {case.verdict}", ("term", "moved", "baseline", "now", "delta"), text=2)
        for term in found.terms:
            changes = "; ".join(term.changes) or "no"
            made.add_row(term.name, changes, *map(number, (term.baseline, term.now, delta(term))))
        out.print(made)
        lines += [f"  {note}" for note in notes(case)]
        lines += [f"  {'tie' if flip.tie else 'flip'}: {flip_line(flip)}" for flip in found.flips]
    for line in lines:
        out.print(Text(line), soft_wrap=True)


def precision(value: float | None) -> str:
    """An average precision, 0..1; a dash where nothing was measured."""
    return "-" if value is None else f"{value:.3f}"


def print_detections(answer: dict[str, Any]) -> None:
    """Detections, image by image, with what each image is called."""
    made = table(f"{answer['model']} version {answer['version']}", ("image", "label", "score", "box"), text=2)
    for index, image in enumerate(answer["images"]):
        for found in image["detections"]:
            box = " ".join(f"{side:.1f}" for side in found["box"])
            made.add_row(str(image.get("id", index)), found["label"], f"{found['score']:.3f}", box)
    out = console()
    out.print(made)
    empty = sum(not image["detections"] for image in answer["images"])
    if empty:
        out.print(f"nothing found in {empty} of {len(answer['images'])} images")
