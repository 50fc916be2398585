"""Running the cases of a `posneg.yaml`: recording baselines, checking against them."""

import os
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from posneg.service.checks.baseline import Snapshot, dumps, load, snapshot
from posneg.service.checks.compare import compare
from posneg.service.checks.config import Case, Config
from posneg.service.checks.fingerprint import fingerprint
from posneg.service.checks.report import PRECEDENCE, CaseReport, Report
from posneg.service.checks.requests import case_request
from posneg.service.errors import (
    BadRequest,
    BaselineMissing,
    Conflict,
    InvalidRequest,
    NotFound,
    ServiceError,
)
from posneg.service.schemas import losses

Answer = Callable[[bytes], dict[str, Any]]
"""Body of /v1/losses → its response: computed here, or asked of a service."""


def run_case(case: Case, config: Config, answer: Answer) -> Snapshot:
    """Compute one case as it is now."""
    body = case_request(case, config.folder)
    inputs = fingerprint(losses.parse(body))
    run = snapshot(case.name, inputs, answer(body))
    if unknown := sorted(case.tolerance.terms.keys() - run.terms.keys()):
        known = ", ".join(sorted(run.terms))
        raise InvalidRequest(f"case {case.name}: tolerance for {unknown}, but its terms are {known}")
    return run


def chosen(config: Config, pattern: str) -> tuple[Case, ...]:
    """The cases whose name matches a shell pattern."""
    return tuple(case for case in config.cases if fnmatchcase(case.name, pattern))


def record(config: Config, answer: Answer, pattern: str = "*") -> dict[Path, Snapshot]:
    """Write the baselines of the chosen cases, all or none; raises `Conflict` where one exists already."""
    cases = chosen(config, pattern)
    if not cases:
        raise NotFound(f"no case to record: none of {len(config.cases)} matches {pattern!r}")
    if existing := [str(f) for f in map(config.baseline_file, cases) if f.exists()]:
        raise Conflict(
            f"{', '.join(existing)}: recorded already; delete what may be recorded anew, "
            "or choose other cases with --case"
        )
    runs = {config.baseline_file(case): run_case(case, config, answer) for case in cases}
    for file, run in runs.items():
        _write(file, dumps(run))
    return runs


def _write(file: Path, text: str) -> None:
    half = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        half.write_text(text, encoding="utf-8", newline="\n")
        half.replace(file)
    except OSError as error:
        raise BadRequest(f"cannot write {file}: {error.strerror}") from error


def check(config: Config, answer: Answer, pattern: str = "*") -> Report:
    """Compare the chosen cases with their baselines; one that cannot be compared stops no other."""
    cases = tuple(_check_case(case, config, answer) for case in chosen(config, pattern))
    return Report(cases=cases, stale=_stale(config))


def _check_case(case: Case, config: Config, answer: Answer) -> CaseReport:
    baseline, one = _attempt(lambda: _baseline(case, config))
    run, other = _attempt(lambda: run_case(case, config, answer))
    if baseline and run:
        return CaseReport(name=case.name, comparison=compare(baseline, run, case.tolerance))
    reports = [CaseReport(name=case.name, problem=problem) for problem in (one, other) if problem]
    return min(reports, key=lambda report: PRECEDENCE.index(report.exit_code))


def _attempt(act: Callable[[], Snapshot]) -> tuple[Snapshot | None, ServiceError | None]:
    try:
        return act(), None
    except ServiceError as problem:
        return None, problem


def _baseline(case: Case, config: Config) -> Snapshot:
    file = config.baseline_file(case)
    if not file.is_file():
        raise BaselineMissing(f"{file} does not exist; `posneg record --case '{case.name}'` writes it")
    return load(file)


def _stale(config: Config) -> tuple[str, ...]:
    named = {config.baseline_file(case) for case in config.cases}
    return tuple(sorted(str(f) for f in config.baselines.rglob("*.json") if f not in named))
