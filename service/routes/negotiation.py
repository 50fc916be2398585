"""Which form of an answer the caller would rather have (RFC 9110, section 12.5.1)."""

from collections.abc import Sequence

from starlette.requests import Request


def preferred(request: Request, offered: Sequence[str]) -> str:
    """The media type of `offered` that `Accept` weighs most; the first one where it names none of them."""
    accept = ",".join(request.headers.getlist("accept"))
    ranges = [_range(part) for part in accept.split(",") if part.strip()]
    weights = [_weight(kind, ranges) for kind in offered]
    best = max(weights, default=0.0)
    return offered[weights.index(best)] if best > 0 else offered[0]


def _range(part: str) -> tuple[str, float]:
    kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
    weights = [p.removeprefix("q=") for p in parameters if p.startswith("q=")]
    try:
        return kind, float(weights[0]) if weights else 1.0
    except ValueError:
        return kind, 0.0


def _weight(kind: str, ranges: list[tuple[str, float]]) -> float:
    """That of the most exact range that covers `kind`."""
    for covering in (kind, kind.partition("/")[0] + "/*", "*/*"):
        if found := [weight for named, weight in ranges if named == covering]:
            return max(found)
    return 0.0
