"""What each problem type means: the address that an error's `type` leads to."""

import html
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from posneg.service.errors import NotFound, ServiceError, kinds

router = APIRouter(tags=["service"])


@router.get("/problems")
async def list_problems() -> dict[str, Any]:
    """Every problem type that this service answers with."""
    return {"data": [_shown(kind) for kind in kinds().values()], "has_more": False, "next": None}


@router.get("/problems/{code}")
async def read_problem(code: str, request: Request) -> Response:
    """One problem type: JSON, or a page where a browser asks."""
    if code not in kinds():
        raise NotFound(f"there is no problem type {code!r}; GET /problems lists them")
    shown = _shown(kinds()[code])
    if "text/html" not in request.headers.get("accept", ""):
        return JSONResponse(shown)
    title = f"{shown['status']} {html.escape(shown['title'])}"
    return HTMLResponse(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<h1>{title}</h1><p><code>{code}</code></p><p>{html.escape(shown['meaning'])}</p>"
    )


def _shown(kind: type[ServiceError]) -> dict[str, Any]:
    return {
        "type": f"/problems/{kind.code}",
        "code": kind.code,
        "status": kind.status,
        "title": kind.title,
        "meaning": kind.meaning,
    }
