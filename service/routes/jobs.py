"""Trainings as background jobs: submitted, followed, cancelled, resumed, forgotten."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse

from posneg.service.errors import InvalidRequest
from posneg.service.idempotency import once
from posneg.service.jobs import files, views
from posneg.service.jobs.specs import resolved
from posneg.service.jobs.states import State
from posneg.service.jobs.tails import Event
from posneg.service.routes.dependencies import (
    MAX_PAGE,
    IdempotencyKey,
    JobsDep,
    RawBodyDep,
    RecordsDep,
    SettingsDep,
    WindowDep,
)
from posneg.service.schemas.jobs import Job, TrainRequest
from posneg.service.schemas.pages import page

router = APIRouter(tags=["jobs"])
EVENT_STREAM = "text/event-stream"
RETRY_AFTER_S = "1"
Number = Annotated[int | None, Query(ge=0, le=2**31 - 1, description="`id` of the last event that is known.")]


@router.post("/v1/jobs", status_code=202, response_model=Job)
def create_job(
    wanted: TrainRequest,
    body: RawBodyDep,
    jobs: JobsDep,
    records: RecordsDep,
    key: IdempotencyKey = None,
) -> Response:
    """Queue a training; follow `Location`, or its events, until it has ended."""

    def act(job_id: str) -> Response:
        jobs.submit(job_id, resolved(wanted, records))
        return _accepted(views.job(*jobs.get(job_id)))

    return once(records, route="POST /v1/jobs", key=key, body=body, act=act)


@router.get("/v1/jobs")
def list_jobs(window: WindowDep, jobs: JobsDep, state: State | None = None) -> dict[str, Any]:
    """Every job, the newest first."""
    rows = jobs.newest(before=_sequence(window.after), state=state, limit=window.limit + 1)
    return page(
        rows, window, cursor=lambda found: str(found[0]["sequence"]), show=lambda found: views.job(*found)
    )


@router.get("/v1/jobs/{job_id}", response_model=Job)
def read_job(job_id: str, jobs: JobsDep) -> dict[str, Any]:
    """One job: its state, how far it is, and what came of it."""
    return views.job(*jobs.get(job_id))


@router.post("/v1/jobs/{job_id}/cancel", status_code=202, response_model=Job)
def cancel_job(job_id: str, jobs: JobsDep) -> Response:
    """End a job; its checkpoint is kept, so that it can be resumed."""
    jobs.cancel(job_id)
    return _accepted(views.job(*jobs.get(job_id)))


@router.post("/v1/jobs/{job_id}/resume", status_code=202, response_model=Job)
def resume_job(job_id: str, jobs: JobsDep) -> Response:
    """Go on with a job that was cancelled or failed, from its checkpoint."""
    jobs.resume(job_id)
    return _accepted(views.job(*jobs.get(job_id)))


@router.delete("/v1/jobs/{job_id}", status_code=204)
def delete_job(job_id: str, jobs: JobsDep) -> None:
    """Forget a job and its files; a model that it published stays."""
    jobs.delete(job_id)


@router.get(
    "/v1/jobs/{job_id}/events",
    responses={
        200: {
            "description": "The events, live or as a page.",
            "content": {EVENT_STREAM: {}, "application/json": {}},
        }
    },
)
def read_events(
    job_id: str,
    request: Request,
    jobs: JobsDep,
    after: Number = None,
    limit: Annotated[int, Query(ge=1, le=10 * MAX_PAGE, description="Events a page.")] = MAX_PAGE,
    last_event_id: Annotated[str | None, Header(description="Where a broken stream goes on.")] = None,
) -> Response:
    """What happens in a job: live with `Accept: text/event-stream`, else so far."""
    if EVENT_STREAM not in request.headers.get("accept", ""):
        return JSONResponse(_page_of_events(jobs.events(job_id, after or 0, limit + 1), limit))
    start = jobs.start_of_stream(job_id, _last_event(last_event_id) if last_event_id else after or 0)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_stream(jobs.follow(job_id, start)), media_type=EVENT_STREAM, headers=headers)


@router.get("/v1/jobs/{job_id}/logs", response_class=PlainTextResponse)
def read_log(job_id: str, jobs: JobsDep, settings: SettingsDep) -> Response:
    """What the training printed, the last 4 MiB of it."""
    jobs.get(job_id)
    return Response(files.log(settings.runs_folder / job_id), media_type="text/plain; charset=utf-8")


@router.get("/v1/jobs/{job_id}/artifacts")
def list_artifacts(job_id: str, jobs: JobsDep, settings: SettingsDep) -> dict[str, Any]:
    """The files of a job: checkpoint, weights, exported model, log."""
    jobs.get(job_id)
    found = files.artifacts(settings.runs_folder / job_id)
    data = [file | {"href": f"/v1/jobs/{job_id}/artifacts/{file['name']}"} for file in found]
    return {"data": data, "has_more": False, "next": None}


@router.get("/v1/jobs/{job_id}/artifacts/{name:path}")
def read_artifact(job_id: str, name: str, jobs: JobsDep, settings: SettingsDep) -> Response:
    """One file of a job, as it was when this began, also if the training replaces it meanwhile."""
    jobs.get(job_id)
    size, chunks = files.opened(settings.runs_folder / job_id, name)
    headers = {
        "Content-Length": str(size),
        "Content-Disposition": f'attachment; filename="{name.rpartition("/")[2]}"',
    }
    return StreamingResponse(chunks, media_type="application/octet-stream", headers=headers)


def _accepted(job: dict[str, Any]) -> Response:
    headers = {"Location": f"/v1/jobs/{job['id']}", "Retry-After": RETRY_AFTER_S}
    return JSONResponse(job, 202, headers)


def _sequence(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if cursor.isascii() and cursor.isdigit() and len(cursor) < 10:
        return int(cursor)
    raise InvalidRequest.at("/after", f"{cursor!r} is not the `next` of a page of jobs", "invalid_cursor")


def _last_event(told: str) -> int:
    if told.isascii() and told.isdigit() and len(told) < 10:
        return int(told)
    raise InvalidRequest.at("/Last-Event-ID", f"{told!r} is not the id of an event", "invalid_event_id")


def _page_of_events(events: list[Event], limit: int) -> dict[str, Any]:
    shown = events[:limit]
    has_more = len(events) > limit
    return {"data": shown, "has_more": has_more, "next": str(shown[-1]["id"]) if has_more else None}


async def _stream(told: AsyncGenerator[list[Event], None]) -> AsyncIterator[str]:
    """Server-sent events; a comment where nothing else was to be said."""
    yield "retry: 1000\n\n"
    async with aclosing(told) as batches:
        async for batch in batches:
            yield "".join(map(_told, batch)) or ": heartbeat\n\n"


def _told(event: Event) -> str:
    return f"id: {event['id']}\nevent: {event['type']}\ndata: {json.dumps(event)}\n\n"
