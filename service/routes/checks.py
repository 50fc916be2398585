"""Loss-regression checks: a verdict on what moved since a baseline, and the last ones."""

from collections.abc import Callable
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from posneg.service.checks import forms, kept_checks
from posneg.service.errors import UnsupportedMediaType
from posneg.service.idempotency import REPLAYED, once
from posneg.service.routes.body import encoding_of, inflate, read_body
from posneg.service.routes.dependencies import IdempotencyKey, RecordsDep, SettingsDep, WindowDep
from posneg.service.routes.line import JSON, is_json, line_of
from posneg.service.routes.negotiation import preferred
from posneg.service.schemas.checks import (
    CHECK_ANSWER_EXAMPLE,
    CHECK_EXAMPLE,
    CheckAnswer,
    CheckPage,
    CheckRequest,
)
from posneg.service.schemas.decoding import decode
from posneg.service.schemas.loss_request import inlined_schema

router = APIRouter(tags=["checks"])
Json = dict[str, Any]
FORMS: dict[str, Callable[[Json], bytes]] = {
    JSON: orjson.dumps,
    "text/markdown": lambda check: forms.markdown(check).encode(),
    "application/xml": lambda check: forms.junit(check).encode(),
}
BODY: Json = {
    "requestBody": {
        "required": True,
        "content": {JSON: {"schema": inlined_schema(CheckRequest), "example": CHECK_EXAMPLE}},
    }
}
TEXT: Json = {"schema": {"type": "string"}}
ANSWERS: dict[int | str, Json] = {
    200: {
        "model": CheckAnswer,
        "content": {
            JSON: {"example": CHECK_ANSWER_EXAMPLE},
            **{kind: TEXT for kind in FORMS if kind != JSON},
        },
    }
}


@router.post("/v1/checks", responses=ANSWERS, openapi_extra=BODY)
async def check_loss(
    request: Request, records: RecordsDep, settings: SettingsDep, key: IdempotencyKey = None
) -> Response:
    """Compare a loss with its baseline. A regression is 200 with a verdict; `Accept` chooses the form."""
    content_type = request.headers.get("content-type", JSON)
    if not is_json(content_type):
        raise UnsupportedMediaType(f"Content-Type {content_type[:60]!r} is not {JSON}")
    encoding, limit = encoding_of(request), settings.max_body_mib * 2**20
    body = await read_body(request, limit)

    def act(check_id: str) -> Response:
        from posneg.service.checks import asked  # torch takes seconds to import

        wanted = asked.read(decode(inflate(body, encoding, limit)), records)
        report = asked.check(wanted, max_pairs=settings.max_pairs)
        # As JSON has it: what is not finite becomes null before it is kept.
        kept_checks.keep(records, check_id, wanted.kept_as, orjson.loads(orjson.dumps(report.to_json())))
        return Response(check_id)

    def work() -> Response:
        acted = once(records, route="POST /v1/checks", key=key, body=body, act=act)
        answered = _answer(request, kept_checks.get(records, bytes(acted.body).decode()))
        if REPLAYED in acted.headers:
            answered.headers[REPLAYED] = acted.headers[REPLAYED]
        return answered

    return await line_of(request, settings).run(work)


@router.get("/v1/checks", response_model=CheckPage)
def list_checks(window: WindowDep, records: RecordsDep) -> Json:
    """The last checks in short, the newest first."""
    return kept_checks.page(records, window)


@router.get("/v1/checks/{check_id}", responses=ANSWERS)
def read_check(check_id: str, request: Request, records: RecordsDep) -> Response:
    """One check with all that it found; `Accept` chooses the form."""
    return _answer(request, kept_checks.get(records, check_id))


def _answer(request: Request, check: Json) -> Response:
    kind = preferred(request, tuple(FORMS))
    return Response(FORMS[kind](check), 200, {"Vary": "Accept"}, kind)
