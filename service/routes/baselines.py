"""Baselines of loss-regression checks: put as `posneg record` writes them, listed, read, deleted."""

from functools import partial
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from posneg.service.checks import kept_baselines
from posneg.service.checks.baseline import Snapshot
from posneg.service.checks.intact import intact
from posneg.service.errors import BaselineIncompatible, InvalidRequest, UnsupportedMediaType
from posneg.service.routes.body import encoding_of, inflate, read_body
from posneg.service.routes.conditional import entity_tag, not_modified, require_match
from posneg.service.routes.dependencies import RecordsDep, SettingsDep, WindowDep
from posneg.service.routes.line import JSON, is_json, line_of
from posneg.service.schemas.checks import BASELINE_EXAMPLE, Baseline, BaselineFile, BaselinePage
from posneg.service.schemas.decoding import decode
from posneg.service.schemas.loss_request import inlined_schema

router = APIRouter(tags=["checks"])
PATH = "/v1/baselines/{name:path}"
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {JSON: {"schema": inlined_schema(BaselineFile), "example": BASELINE_EXAMPLE}},
    }
}


@router.get("/v1/baselines", response_model=BaselinePage)
def list_baselines(window: WindowDep, records: RecordsDep) -> dict[str, Any]:
    """Every kept baseline by name, in short."""
    return kept_baselines.page(records, window)


@router.get(PATH, response_model=BaselineFile)
def read_baseline(name: str, request: Request, records: RecordsDep) -> Response:
    """The baseline's file, byte for byte as `posneg record` writes it."""
    found = kept_baselines.get(records, name)
    headers = {"ETag": entity_tag(found["etag"])}
    return not_modified(request, found["etag"]) or Response(found["document"], 200, headers, JSON)


@router.put(
    PATH,
    status_code=201,
    response_model=Baseline,
    responses={200: {"model": Baseline, "description": "The baseline was there before."}},
    openapi_extra=BODY,
)
async def put_baseline(name: str, request: Request, records: RecordsDep, settings: SettingsDep) -> Response:
    """Create or replace a baseline; names are segments of a-z 0-9 . _ - joined by /."""
    kept_baselines.writable_name(name)
    content_type = request.headers.get("content-type", JSON)
    if not is_json(content_type):
        raise UnsupportedMediaType(f"Content-Type {content_type[:60]!r} is not {JSON}")
    encoding, limit = encoding_of(request), settings.max_body_mib * 2**20
    body = await read_body(request, limit)

    def work() -> kept_baselines.Kept:
        run = _readable(decode(inflate(body, encoding, limit)))
        return kept_baselines.put(records, name, run, partial(require_match, request))

    kept = await line_of(request, settings).run(work)
    headers = {"ETag": entity_tag(kept.view["etag"])}
    if kept.created:
        headers["Location"] = kept.view["links"]["self"]
    return Response(orjson.dumps(kept.view), 201 if kept.created else 200, headers, JSON)


@router.delete(PATH, status_code=204)
def delete_baseline(name: str, request: Request, records: RecordsDep) -> None:
    """Forget a baseline."""
    kept_baselines.delete(records, name, partial(require_match, request))


def _readable(document: Any) -> Snapshot:  # noqa: ANN401 - any JSON value
    try:
        return intact(document)
    except BaselineIncompatible as problem:  # nothing is kept that no check could read
        raise InvalidRequest.at("/format", problem.detail, "incompatible_baseline") from problem
