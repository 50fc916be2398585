"""The `posneg` program: its commands, and what their failures exit with.

Nothing heavy is imported here or by the modules of the commands, so that `--help` answers at once; each
command imports what it needs inside.
"""

import os
import sys
import traceback
from types import TracebackType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from posneg.service.cli import check, losses, models, processes, training
from posneg.service.errors import ServiceError, Unavailable

USAGE, UNREACHABLE, BROKEN_PIPE, CRASH = 2, 5, 141, 70
SHOWN_FAULTS = 20


class Commands(TyperGroup):
    """The commands, with one place where their failures become messages and exit codes."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - typer keeps its own copy of click private
        """Run the chosen command."""
        try:
            try:
                return super().invoke(ctx)
            finally:
                sys.stdout.flush()
        except ServiceError as problem:
            tell(problem)
            raise typer.Exit(UNREACHABLE if isinstance(problem, Unavailable) else USAGE) from problem
        except BrokenPipeError as error:  # whoever read our output has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(BROKEN_PIPE) from error


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    help="Explains, guards, trains and serves object detectors: label assignment and loss, made plain.",
)
for group in (processes, losses, check, training, models):
    group.add_to(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"posneg {version('posneg')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    pass


def tell(problem: ServiceError) -> None:
    """A problem on stderr: what is wrong, then each bad element with the pointer to it."""
    typer.echo(f"error: {problem.detail}", err=True)
    if problem.faults_total == 1 and problem.faults[0].detail in problem.detail:
        return
    for fault in problem.faults[:SHOWN_FAULTS]:
        typer.echo(f"  {fault.pointer}: {fault.detail}", err=True)
    if (more := problem.faults_total - SHOWN_FAULTS) > 0:
        typer.echo(f"  and {more} more", err=True)


def _crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A mistake of ours must not exit with 1, which `posneg check` means as "moved"."""
    traceback.print_exception(kind, error, trace)
    sys.stderr.flush()
    os._exit(CRASH)


def main() -> None:
    """Run the command line."""
    sys.excepthook = _crash
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # waiting threads of torch do not burn cores
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a narrow terminal encoding is no reason to fail
    typer.main.get_command(app).main(prog_name="posneg")
