"""`posneg record` and `posneg check`: losses that must not move unnoticed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from posneg.service.cli.losses import answerer
from posneg.service.cli.options import ApiKey, Json, Url
from posneg.service.errors import BadRequest

if TYPE_CHECKING:
    from posneg.service.checks.report import Report

ConfigFile = Annotated[Path, typer.Option("--config", help="The cases and their tolerances.")]
CasePattern = Annotated[str, typer.Option("--case", help="Only the cases that match this shell pattern.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(record)
    app.command()(check)


def record(
    config: ConfigFile = Path("posneg.yaml"), case: CasePattern = "*", url: Url = "", api_key: ApiKey = ""
) -> None:
    """Write the baselines of the cases; one that exists is never overwritten (exit 2)."""
    from posneg.service.checks import run
    from posneg.service.checks.config import load

    for file, recorded in run.record(load(config), answerer(url, api_key, loss=True), case).items():
        typer.echo(f"recorded {file}")
        if recorded.verdict == "nonfinite":
            typer.echo(
                f"warning: {recorded.name} has values that are not finite, which equal nothing", err=True
            )


def check(
    config: ConfigFile = Path("posneg.yaml"),
    case: CasePattern = "*",
    report: Annotated[
        str, typer.Option(help="Also write reports: md, json, junit, or several as md,junit.")
    ] = "",
    output: Annotated[Path, typer.Option(help="Folder of the reports.")] = Path(),
    fail_on: Annotated[
        Literal["moved", "assignment", "any"], typer.Option(help="What exits with 1; see docs/ci.md.")
    ] = "moved",
    informational: Annotated[bool, typer.Option("--informational", help="Tell a move, but exit 0.")] = False,
    json: Json = False,
    url: Url = "",
    api_key: ApiKey = "",
) -> None:
    """Compare the cases with their baselines.

    Exits with 0 same, 1 moved, 2 usage or unreadable input, 3 baseline missing or stale, 4 incompatible,
    5 service unreachable, 6 inconclusive; where several apply, the first of 2, 5, 3, 4, 6, 1.
    """
    from posneg.service.checks import run
    from posneg.service.checks.config import load
    from posneg.service.cli import tables

    forms = _forms(report)
    found = run.check(load(config), answerer(url, api_key, loss=True), case)
    if json:
        tables.print_json(found.to_json())
    else:
        tables.print_check(found)
    _write(found, forms, output)
    raise typer.Exit(found.exit_code(fail_on, informational=informational))


def _forms(report: str) -> list[str]:
    from posneg.service.checks.report import FORMS

    wanted = [form.strip() for form in report.split(",") if form.strip()]
    if unknown := [form for form in wanted if form not in FORMS]:
        raise BadRequest(f"no report {', '.join(map(repr, unknown))}; this version writes {', '.join(FORMS)}")
    return wanted


def _write(found: "Report", forms: list[str], output: Path) -> None:
    from posneg.service.checks.report import FORMS

    for form in forms:
        ending, write = FORMS[form]
        file = output / f"posneg-check.{ending}"
        try:
            output.mkdir(parents=True, exist_ok=True)
            file.write_text(write(found), encoding="utf-8")
        except OSError as error:
            raise BadRequest(f"cannot write {file}: {error.strerror}") from error
        typer.echo(f"wrote {file}", err=True)
