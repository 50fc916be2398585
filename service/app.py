"""The HTTP application, put together, and its start."""

import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from typing import NoReturn

import structlog
import uvicorn
from fastapi import FastAPI
from fastapi.routing import APIRoute

from posneg.service import auth, logs, problems
from posneg.service.idempotency import forget_old
from posneg.service.jobs.queue import JobQueue
from posneg.service.middleware import BodyLimited, Explained, Observed
from posneg.service.migrations import DatabaseTooNew, migrate
from posneg.service.records import DatabaseSilent, Records, wait_for_database
from posneg.service.routes import (
    baselines,
    catalog,
    checks,
    comparisons,
    coverage,
    datasets,
    documentation,
    health,
    inference_protocol,
    jobs,
    limits,
    loss_functions,
    losses,
    metrics,
    models,
    workers,
)
from posneg.service.routes import problems as problem_pages
from posneg.service.serving.models import ServedModels
from posneg.service.settings import Settings
from posneg.service.store import Store

log = structlog.get_logger()
VERSION = version("posneg")
GRACE_S = 30
# Routers are tried in this order, and inference is what hurries.
SERVING = (inference_protocol, models, health, limits, metrics, problem_pages, documentation)
TRAINING = (
    losses,
    loss_functions,
    coverage,
    comparisons,
    baselines,
    checks,
    catalog,
    datasets,
    jobs,
    workers,
)


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
    # The last one added is the outermost.
    app.add_middleware(Explained)
    app.add_middleware(auth.Authorized, settings=settings)
    app.add_middleware(BodyLimited, settings=settings)
    app.add_middleware(Observed)
    for module in SERVING if settings.only == "serving" else (*SERVING, *TRAINING):
        app.include_router(module.router)
    documentation.describe(app, keys=bool(settings.keys))
    return app


async def _start(app: FastAPI, settings: Settings, closing: AsyncExitStack) -> None:
    """Put the long-lived parts on the app's state; `closing` ends them in the opposite order."""
    migrate(settings.database_url)
    records = Records(settings.database_url)
    closing.callback(records.close)
    forget_old(records)
    app.state.settings = settings
    app.state.records = records
    app.state.store = Store(settings)
    app.state.served = ServedModels(settings)
    await app.state.served.start()
    closing.push_async_callback(app.state.served.close)
    if settings.only == "serving":
        return
    app.state.jobs = JobQueue(settings, records)
    await app.state.jobs.start()
    closing.push_async_callback(app.state.jobs.close)


def serve(settings: Settings) -> None:
    """Answer requests until told to stop; exits with 2 where settings or database forbid the start."""
    if reason := auth.refusal(settings):
        _refuse(reason)
    logs.configure(settings.log_level)
    try:
        wait_for_database(settings.database_url)
        migrate(settings.database_url)
    except (DatabaseSilent, DatabaseTooNew) as error:
        _refuse(str(error))
    for end in (signal.SIGINT, signal.SIGTERM):  # uvicorn shuts down, then hands the signal back to us
        signal.signal(end, _leave)
    listener = _listener(settings)
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    _Server(config, app).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Says where it listens once it answers, and ends the streams that would keep it from stopping."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self.app = app

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        assert sockets is not None
        host, port = sockets[0].getsockname()[:2]
        log.info("listening", url=f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if hasattr(self.app.state, "jobs"):
            self.app.state.jobs.end_streams()
        await super().shutdown(sockets)


def _listener(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio sends small writes at once only on sockets that say they are TCP; else each answer takes 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
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
