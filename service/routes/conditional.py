"""Conditional requests: strong entity tags, `If-None-Match` and `If-Match` (RFC 9110, section 13)."""

from starlette.requests import Request
from starlette.responses import Response

from posneg.service.errors import PreconditionFailed


def entity_tag(version: str) -> str:
    """The strong tag of a version, which is a hash or a random id."""
    return f'"{version}"'


def not_modified(request: Request, version: str) -> Response | None:
    """The answer 304 if the caller already has `version`, else None."""
    tag = entity_tag(version)
    if tag in (sent := _tags(request, "if-none-match", weak=True)) or "*" in sent:
        return Response(status_code=304, headers={"ETag": tag})
    return None


def require_match(request: Request, version: str | None) -> None:
    """Raise 412 if `If-Match` was sent and does not name `version`; None: there is no such thing yet."""
    sent = _tags(request, "if-match", weak=False)
    if not sent or (version is not None and (entity_tag(version) in sent or "*" in sent)):
        return
    kept = "nothing is kept there" if version is None else f"the kept version is {entity_tag(version)}"
    raise PreconditionFailed(f"If-Match names {', '.join(sent)}, but {kept}; read it again and retry")


def _tags(request: Request, header: str, *, weak: bool) -> list[str]:
    """The tags of a header; weak ones compare like strong ones (`If-None-Match`) or never (`If-Match`)."""
    tags = [tag.strip() for line in request.headers.getlist(header) for tag in line.split(",") if tag.strip()]
    return [tag.removeprefix("W/") for tag in tags] if weak else tags
