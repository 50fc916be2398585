"""`posneg serve` and `posneg worker`: the processes that stay."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from posneg.service.cli.options import Data, Database, Device, Store
from posneg.service.errors import Fault, InvalidRequest

if TYPE_CHECKING:
    from posneg.service.settings import Settings

LogLevel = Annotated[str | None, typer.Option(help="debug, info, warning, error [env: POSNEG_LOG_LEVEL].")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(serve)
    app.command()(worker)


def serve(
    host: Annotated[str | None, typer.Option(help="Address to bind [env: POSNEG_HOST; 127.0.0.1].")] = None,
    port: Annotated[int | None, typer.Option(help="Port to bind [env: POSNEG_PORT; 8000].")] = None,
    data: Data = None,
    database: Database = None,
    store: Store = None,
    worker: Annotated[
        bool | None, typer.Option("--worker/--no-worker", help="With a worker or not [env: POSNEG_WORKER].")
    ] = None,
    only: Annotated[
        str | None, typer.Option(help="`serving`: models alone, no losses, no jobs [env: POSNEG_ONLY].")
    ] = None,
    insecure: Annotated[
        bool | None, typer.Option("--insecure", help="Bind beyond loopback without keys.")
    ] = None,
    device: Device = None,
    log_level: LogLevel = None,
) -> None:
    """Run the service. Every POSNEG_* environment variable applies; an option overrides its variable."""
    from posneg.service import app

    app.serve(
        settings(
            host=host,
            port=port,
            data=data,
            database=database,
            store=store,
            worker=worker,
            only=only,
            insecure=insecure,
            device=device,
            log_level=log_level,
        )
    )


def worker(
    data: Data = None,
    database: Database = None,
    store: Store = None,
    device: Device = None,
    log_level: LogLevel = None,
) -> None:
    """Run a worker: takes queued jobs, one at a time, from the same database as the service."""
    from posneg.service.jobs.worker import run

    run(settings(data=data, database=database, store=store, device=device, log_level=log_level))


def settings(**given: object) -> "Settings":
    """Settings from the environment, with the options that were given laid over them."""
    from pydantic import ValidationError

    from posneg.service.settings import Settings

    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    try:
        return Settings(**chosen)
    except ValidationError as error:
        faults = [Fault(_origin(str(e["loc"][0]), chosen), e["msg"], e["type"]) for e in error.errors()]
        raise InvalidRequest("the settings cannot be used as they are", faults=faults) from None


def _origin(name: str, chosen: dict[str, Any]) -> str:
    return f"--{name.replace('_', '-')}" if name in chosen else f"POSNEG_{name.upper()}"
