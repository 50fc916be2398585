"""The forms of a report, each made of its JSON, so that a report that was kept can be told in any of them."""

import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

Json = dict[str, Any]
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, not even escaped (section 2.2)."""


def markdown(report: Json) -> str:
    """The report for a pull request's comment."""
    cases = report["cases"]
    lines = [
        f"# posneg check: {report['verdict']}",
        "",
        f"{report['compared']} of {len(cases)} cases compared.",
    ]
    lines += [f"- stale baseline: `{name}`" for name in report["stale"]]
    for case in cases:
        lines += ["", f"## {case['name']}: {case['verdict']}", "", *_case_markdown(case)]
    return "\n".join(lines) + "\n"


def _case_markdown(case: Json) -> Iterator[str]:
    if problem := case.get("problem"):
        yield from _problem_lines(problem)
        return
    yield "| term | baseline | now | delta | moved |"
    yield "|---|---:|---:|---:|---|"
    for term in case["terms"]:
        cells = (term["name"], *(number(term[key]) for key in ("baseline", "now", "delta")))
        yield f"| {' | '.join(cells)} | {'; '.join(term['changes']) or 'no'} |"
    yield ""
    yield from (f"- {line}" for line in notes(case))
    yield from (f"- {flip_line(flip)}" for flip in case["flips"])


def _problem_lines(problem: Json) -> Iterator[str]:
    yield problem["detail"]
    yield from (f"- `{fault['pointer']}`: {fault['detail']}" for fault in problem["errors"])


def junit(report: Json) -> str:
    """The report as JUnit XML: a suite a case; in it a test for its verdict and one for each term."""
    root = ElementTree.Element("testsuites", name="posneg check")
    for case in report["cases"]:
        _suite(root, case)
    if report["stale"]:
        suite = ElementTree.SubElement(root, "testsuite", name="baselines")
        for name in report["stale"]:
            _test(suite, name, "baselines", "error", "stale", "no case names this baseline")
    for suite in root:
        _count(suite)
    _count(root)
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _suite(root: ElementTree.Element, case: Json) -> None:
    suite = ElementTree.SubElement(root, "testsuite", name=_xml(case["name"]))
    kind = {"same": None, "moved": "failure"}.get(case["verdict"], "error")
    _test(suite, "verdict", case["name"], kind, case["verdict"], "\n".join(_findings(case)))
    for term in case["terms"]:
        sides = " → ".join(number(term[key]) for key in ("baseline", "now"))
        text = f"{sides} (delta {number(term['delta'])}): {'; '.join(term['changes'])}"
        _test(suite, term["name"], case["name"], "failure" if term["moved"] else None, "moved", text)


def _findings(case: Json) -> Iterator[str]:
    if problem := case.get("problem"):
        yield from _problem_lines(problem)
        return
    yield from notes(case)
    yield from map(flip_line, case["flips"])


def _test(
    suite: ElementTree.Element, name: str, case: str, kind: str | None, message: str, text: str
) -> None:
    test = ElementTree.SubElement(suite, "testcase", name=_xml(name), classname=_xml(case))
    if kind is not None:
        told = ElementTree.SubElement(test, kind, message=message, type=message)
        told.text = _xml(text)
    elif text and name == "verdict":
        ElementTree.SubElement(test, "system-out").text = _xml(text)


def _count(element: ElementTree.Element) -> None:
    """What readers show before they look inside."""
    for attribute, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error")):
        element.set(attribute, str(sum(1 for _ in element.iter(tag))))


def _xml(text: str) -> str:
    return NOT_XML.sub("\ufffd", text)


def flip_line(flip: Json) -> str:
    """One flip in one line: both sides with reason and margin."""
    sides = " → ".join(_side_text(flip[side]) for side in ("baseline", "now"))
    return f"image {flip['image']!r}, prediction {flip['prediction']!r}: {sides}  {flip['reason']}"


def _side_text(side: Json) -> str:
    about = [f"ground truth {side['ground_truth']!r}"] if side["ground_truth"] is not None else []
    about += [side["reason"]] if side["reason"] else []
    about += [f"margin {side['margin']:.4g}"] if side["margin"] is not None else []
    return f"{side['state']} ({', '.join(about)})" if about else str(side["state"])


def notes(case: Json) -> Iterator[str]:
    """What there is to say of a compared case besides terms and flips: verdicts, counts, images, causes."""
    before, now = case["verdicts"]["baseline"], case["verdicts"]["now"]
    if before != now or now == "nonfinite":
        yield f"verdict: {before} → {now}"
    for count in case["counts"]:
        yield f"count {count['name']}: {count['baseline']} → {count['now']}"
    yield from case["images"]
    label = "cause" if case["verdict"] == "moved" else "warning"
    yield from (f"{label}: {cause['detail']}" for cause in case["explanation"]["causes"])


def number(value: float | None) -> str:
    """A number for people: nine digits, a dash where there is none."""
    return "-" if value is None else f"{value:.9g}"
