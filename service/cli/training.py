"""`posneg train`: a training run in the foreground."""

import fcntl
import json as json_module
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from posneg.service.cli.losses import json_object
from posneg.service.cli.options import Data, Device, Json
from posneg.service.cli.processes import settings
from posneg.service.errors import BadRequest, Conflict, Fault, InvalidRequest

if TYPE_CHECKING:
    from posneg.service.settings import Settings

INTERRUPTED = 130


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(train)


def train(
    dataset: Annotated[str | None, typer.Option(help="Name of a data set [shapes].")] = None,
    detector: Annotated[str | None, typer.Option(help="Detector [nano].")] = None,
    epochs: Annotated[int | None, typer.Option(help="How long, in passes over the data.")] = None,
    steps: Annotated[int | None, typer.Option(help="How long, in batches [by the size of the data].")] = None,
    budget_seconds: Annotated[float | None, typer.Option(help="How long, in seconds.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a batch [16].")] = None,
    input_size: Annotated[int | None, typer.Option(help="Side of the square input, pixels [320].")] = None,
    preset: Annotated[str | None, typer.Option(help="Recipe of the loss [yolov8].")] = None,
    assigner: Annotated[str, typer.Option(help="Overrides of the assigner as JSON.")] = "",
    terms: Annotated[str, typer.Option("--loss", help="Overrides of the loss terms as JSON.")] = "",
    seed: Annotated[int | None, typer.Option(help="Seed of everything random [0].")] = None,
    model: Annotated[str | None, typer.Option(help="Name to publish under [<dataset>-<detector>].")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with the run in this folder.")] = None,
    device: Device = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Train a detector and publish it in the data folder. Ctrl-C writes a checkpoint to go on from."""
    wanted: dict[str, Any] = {
        "dataset": dataset,
        "detector": detector,
        "epochs": epochs,
        "steps": steps,
        "budget_seconds": budget_seconds,
        "batch_size": batch_size,
        "input_size": input_size,
        "preset": preset,
        "assigner": json_object("assigner", assigner) if assigner else None,
        "loss": json_object("loss", terms) if terms else None,
        "seed": seed,
        "model": model,
        "device": device,
    }
    given = {name: value for name, value in wanted.items() if value is not None}
    kept = settings(data=data)
    folder = _resumed(resume, given) if resume else _new_run(kept, given)
    result = _run(kept, folder, json=json)
    if result is None:
        typer.echo(f"stopped; go on with: posneg train --resume {folder}", err=True)
        raise typer.Exit(INTERRUPTED)
    from posneg.service.cli import tables

    if json:
        tables.print_json({"type": "result", **result})
    else:
        found = f"AP {tables.precision(result['map'])}, AP50 {tables.precision(result['map50'])}"
        typer.echo(f"{result['model']} version {result['version']}: {found}")


def _resumed(folder: Path, given: dict[str, Any]) -> Path:
    if given:
        raise BadRequest(f"--resume goes on as it was begun, without {', '.join(sorted(given))}")
    if not (folder / "spec.json").is_file():
        raise BadRequest(f"{folder} holds no run: there is no spec.json in it")
    return folder


def _new_run(kept: "Settings", given: dict[str, Any]) -> Path:
    """A folder with the description of a new run."""
    from pydantic import ValidationError

    from posneg.service import logs
    from posneg.service.jobs import specs
    from posneg.service.migrations import migrate
    from posneg.service.records import Records
    from posneg.service.schemas.jobs import TrainRequest

    try:
        request = TrainRequest.model_validate({"dataset": "shapes", **given})
    except ValidationError as error:
        faults = [Fault(f"--{_option(e['loc'])}", e["msg"], e["type"]) for e in error.errors()]
        raise InvalidRequest("this cannot be trained as it is asked for", faults=faults) from None
    logs.configure("error")  # before anything speaks: standard output is for events
    migrate(kept.database_url)
    records = Records(kept.database_url)
    spec = specs.resolved(request, records)
    records.close()
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    folder = kept.runs_folder / f"{now}-{spec['model']}"
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text(json_module.dumps(spec))
    return folder


def _option(location: tuple[str | int, ...]) -> str:
    return ".".join(map(str, location)).replace("_", "-")


def _run(kept: "Settings", folder: Path, *, json: bool) -> dict[str, Any] | None:
    """The result, or None where the run was told to stop."""
    from posneg.models.training.checkpoint import CheckpointError
    from posneg.service import logs
    from posneg.service.cli.progress import shown
    from posneg.service.jobs import trainer

    logs.configure("error")
    spec = json_module.loads((folder / "spec.json").read_text())
    try:
        with _locked(folder), _stop_on_signals() as stop, shown(json=json) as emit:
            return trainer.run(spec, folder, settings=kept, emit=emit, should_stop=stop.is_set)
    except CheckpointError as error:
        raise BadRequest(f"{folder} cannot be gone on with: {error}") from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The run folder for this process alone, by the lock that a worker's trainer takes too."""
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(f"{folder} is being trained in by another process") from error
        yield


@contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets; the second Ctrl-C ends the program at once."""
    stop = threading.Event()

    def on_signal(number: int, _: object) -> None:
        signal.signal(number, before[number])
        stop.set()

    before: dict[int, Any] = {n: signal.signal(n, on_signal) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
