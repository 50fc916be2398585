"""The HTTP application, put together, and its start."""

import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import NoReturn, cast

import structlog
import uvicorn
from fastapi import FastAPI
from fastapi.routing import APIRoute

from posneg.service import auth, logs, problems
from posneg.service.idempotency import forget_old
from posneg.service.middleware import BodyLimited, Observed
from posneg.service.migrations import DatabaseTooNew, migrate
from posneg.service.records import Records, metadata
from posneg.service.routes import catalog, documentation, health, limits, metrics
from posneg.service.routes import problems as problem_pages
from posneg.service.settings import Settings
from posneg.service.store import Store

log = structlog.get_logger()
VERSION = "0.1.0"


def create_app(settings: Settings) -> FastAPI:
    """The application; its long-lived parts start and close with its lifespan."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as closing:
            await _start(app, settings, closing)
            yield

    app = FastAPI(
        title="posneg",
        version=VERSION,
        description="Explains, guards, trains and serves object detectors.",
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=_operation_id,
    )
    problems.install(app)
    app.add_middleware(auth.Authorized, settings=settings)
    app.add_middleware(BodyLimited, settings=settings)
    app.add_middleware(Observed)
    for module in (health, limits, metrics, problem_pages, catalog, documentation):
        app.include_router(module.router)
    _include_unfinished(app)
    documentation.describe(app, keys=bool(settings.keys))
    return app


def _include_unfinished(app: FastAPI) -> None:
    for name in ("losses", "datasets", "jobs", "workers", "models", "inference_protocol"):
        if find_spec(f"posneg.service.routes.{name}"):
            try:
                app.include_router(import_module(f"posneg.service.routes.{name}").router)
            except (ImportError, AttributeError, SyntaxError, NameError) as error:
                log.error("route left out while it is being written", name=name, error=repr(error))


async def _start(app: FastAPI, settings: Settings, closing: AsyncExitStack) -> None:
    """Put the long-lived parts on the app's state; `closing` ends them in the opposite order."""
    app.state.settings = settings
    app.state.store = Store(settings)
    records = app.state.records = Records(settings.database_url)
    closing.callback(records.close)
    migrate(settings.database_url)
    metadata.create_all(records.engine)
    forget_old(records)
    for name, module, kind in (
        ("jobs", "posneg.service.jobs.queue", "JobQueue"),
        ("served", "posneg.service.serving.models", "ServedModels"),
    ):
        try:
            if find_spec(module) is None or not hasattr(import_module(module), kind):
                continue
        except (ImportError, AttributeError, SyntaxError, NameError) as error:
            log.error("left out while it is being written", name=name, error=repr(error))
            continue
        part = getattr(import_module(module), kind)(*([settings, records] if name == "jobs" else [settings]))
        setattr(app.state, name, part)
        await part.start()
        closing.push_async_callback(part.close)


def serve(settings: Settings) -> None:
    """Answer requests until told to stop; exits with 2 where settings or database forbid the start."""
    if reason := auth.refusal(settings):
        _refuse(reason)
    logs.configure(settings.log_level)
    try:
        migrate(settings.database_url)
    except DatabaseTooNew as error:
        _refuse(str(error))
    for end in (signal.SIGINT, signal.SIGTERM):  # uvicorn shuts down, then hands the signal back to us
        signal.signal(end, _leave)
    listener = _listener(settings)
    config = uvicorn.Config(create_app(settings), log_config=None, access_log=False, server_header=False)
    _Server(config).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Says where it listens once it is ready to answer."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        assert sockets is not None
        host, port = sockets[0].getsockname()[:2]
        log.info("listening", url=f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        state = cast(FastAPI, self.config.app).state
        if hasattr(state, "jobs"):
            state.jobs.end_streams()  # a shutdown waits for every answer, and these would go on for hours
        await super().shutdown(sockets)


def _listener(settings: Settings) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        _refuse(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}")
    return listener


def _leave(*_: object) -> None:
    raise SystemExit(0)


def _refuse(reason: str) -> NoReturn:
    print(reason, file=sys.stderr)  # noqa: T201 - an operator reads this, not a log
    raise SystemExit(2)


def _operation_id(route: APIRoute) -> str:
    return route.name


if __name__ == "__main__":
    serve(Settings())
