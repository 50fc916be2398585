"""The contract: OpenAPI 3.1 for machines, and one page made of it that loads nothing from elsewhere."""

import html
import json
from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from starlette.responses import HTMLResponse

from posneg.service.errors import kinds

router = APIRouter(include_in_schema=False)
PROBLEM: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "enum": list(kinds())},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail", "code"],
                "properties": {
                    "pointer": {"type": "string"},
                    "detail": {"type": "string"},
                    "code": {"type": "string"},
                },
            },
        },
        "errors_total": {"type": "integer"},
    },
}
PROTOCOL_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}},
}


def describe(app: FastAPI, *, keys: bool) -> None:
    """Have `app` publish its contract: failures as they are, and the key where one is asked for."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes
            )
            components = schema.setdefault("components", {})
            components.setdefault("schemas", {}).update(Problem=PROBLEM, ProtocolError=PROTOCOL_ERROR)
            for _, path, operation in _operations(schema):
                operation["responses"].pop("422", None)  # FastAPI's own shape, which is never sent
                operation["responses"]["default"] = _failure(path)
            if keys:
                components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
                schema["security"] = [{"key": []}]
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # how FastAPI has it done


@router.get("/docs")
async def read_documentation(request: Request) -> HTMLResponse:
    """Every operation on one page."""
    schema = request.app.openapi()
    title = html.escape(f"{schema['info']['title']} {schema['info']['version']}")
    operations = "".join(_section(*operation) for operation in _operations(schema))
    return HTMLResponse(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><h1>{title}</h1>'
        '<p>For machines: <a href="/openapi.json">openapi.json</a>. '
        'Failures: <a href="/problems">problems</a>. '
        f'Limits: <a href="/v1/limits">limits</a>.</p>{operations}'
    )


def _operations(schema: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def _failure(path: str) -> dict[str, Any]:
    name, media_type = ("Problem", "application/problem+json")
    if path.startswith("/v2"):
        name, media_type = "ProtocolError", "application/json"
    return {
        "description": "What went wrong.",
        "content": {media_type: {"schema": {"$ref": f"#/components/schemas/{name}"}}},
    }


def _section(method: str, path: str, operation: Mapping[str, Any]) -> str:
    parameters = "".join(
        f"<li><code>{html.escape(p['name'])}</code> ({p['in']}) {html.escape(p.get('description', ''))} "
        f"<code>{html.escape(json.dumps(p['schema']))}</code></li>"
        for p in operation.get("parameters", [])
    )
    body = html.escape(json.dumps(operation.get("requestBody", {}).get("content", {}), indent=2))
    return (
        f"<h2><code>{method.upper()} {html.escape(path)}</code></h2>"
        f"<p>{html.escape(operation.get('description', ''))}</p>"
        + (f"<ul>{parameters}</ul>" if parameters else "")
        + (f"<details><summary>Body</summary><pre>{body}</pre></details>" if body != "{}" else "")
    )
