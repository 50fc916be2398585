"""The HTTP application, put together, and its start."""

import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.util import find_spec

import structlog
import uvicorn
from fastapi import FastAPI

from posneg.service import auth, logs, problems
from posneg.service.middleware import BodyLimited, Observed
from posneg.service.migrations import migrate
from posneg.service.records import Records, metadata
from posneg.service.routes import health
from posneg.service.settings import Settings
from posneg.service.store import Store

log = structlog.get_logger(__name__)


def create_app(settings: Settings) -> FastAPI:
    """The application; its long-lived parts start and close with its lifespan."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.settings = settings
        app.state.store = Store(settings)
        migrate(settings.database_url)
        records = app.state.records = Records(settings.database_url)
        metadata.create_all(records.engine)
        started = []
        for name, module, kind in (
            ("jobs", "posneg.service.jobs.queue", "JobQueue"),
            ("served", "posneg.service.serving.models", "ServedModels"),
        ):
            if find_spec(module) is None:
                continue
            part = getattr(import_module(module), kind)(
                *([settings, records] if name == "jobs" else [settings])
            )
            setattr(app.state, name, part)
            await part.start()
            started.append(part)
        yield
        for part in reversed(started):
            await part.close()
        records.close()

    app = FastAPI(title="posneg", lifespan=lifespan, redirect_slashes=False)
    problems.install(app)
    app.add_middleware(BodyLimited, settings=settings)
    app.add_middleware(auth.Authorized, settings=settings)
    app.add_middleware(Observed)
    app.include_router(health.router)
    for name in ("losses", "datasets", "jobs", "workers", "models", "inference_protocol"):
        if find_spec(f"posneg.service.routes.{name}"):
            try:
                app.include_router(import_module(f"posneg.service.routes.{name}").router)
            except (ImportError, AttributeError, SyntaxError) as error:
                log.error("route left out while it is being written", name=name, error=repr(error))
    return app


class _Server(uvicorn.Server):
    """Says where it listens once it is ready to answer."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        assert sockets is not None
        host, port = sockets[0].getsockname()[:2]
        log.info("listening", url=f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")


def serve(settings: Settings) -> None:
    """Answer requests until told to stop; exits with 2 where the settings forbid the start."""
    if reason := auth.refusal(settings):
        print(reason, file=sys.stderr)  # noqa: T201 - before there is a log
        raise SystemExit(2)
    logs.configure(settings.log_level)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((settings.host, settings.port))
    config = uvicorn.Config(create_app(settings), log_config=None, access_log=False, server_header=False)
    _Server(config).run(sockets=[listener])


if __name__ == "__main__":
    serve(Settings())
