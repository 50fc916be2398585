"""What routes are given: the long-lived parts that the app put on its state, and what headers say."""

from typing import Annotated, cast

from fastapi import Depends, Header, Query, Request
from starlette.requests import HTTPConnection

from posneg.service.jobs.queue import JobQueue
from posneg.service.records import Records
from posneg.service.schemas.pages import Window
from posneg.service.serving.models import ServedModels
from posneg.service.settings import Settings
from posneg.service.store import Store

MAX_PAGE = 1000
MAX_KEY_LENGTH = 255


async def _settings(connection: HTTPConnection) -> Settings:
    return cast(Settings, connection.app.state.settings)


async def _records(connection: HTTPConnection) -> Records:
    return cast(Records, connection.app.state.records)


async def _store(connection: HTTPConnection) -> Store:
    return cast(Store, connection.app.state.store)


async def _jobs(connection: HTTPConnection) -> JobQueue:
    return cast(JobQueue, connection.app.state.jobs)


async def _served(connection: HTTPConnection) -> ServedModels:
    return cast(ServedModels, connection.app.state.served)


async def _window(
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="Rows a page.")] = 20,
    after: Annotated[str | None, Query(description="`next` of the page before.", max_length=512)] = None,
) -> Window:
    return Window(limit, after)


async def _body(request: Request) -> bytes:
    """The bytes as they came, also where the route takes a parsed body."""
    return await request.body()


SettingsDep = Annotated[Settings, Depends(_settings)]
RecordsDep = Annotated[Records, Depends(_records)]
StoreDep = Annotated[Store, Depends(_store)]
JobsDep = Annotated[JobQueue, Depends(_jobs)]
ServedDep = Annotated[ServedModels, Depends(_served)]
WindowDep = Annotated[Window, Depends(_window)]
RawBodyDep = Annotated[bytes, Depends(_body)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=MAX_KEY_LENGTH,
        description="The same key with the same body replays the first answer.",
    ),
]
