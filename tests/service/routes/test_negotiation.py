"""`Accept` against what is offered."""

import pytest
from starlette.requests import Request

from posneg.service.routes.negotiation import preferred

OFFERED = ("application/json", "text/markdown", "application/xml")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, 0),
        ("", 0),
        ("*/*", 0),
        ("text/markdown", 1),
        ("TEXT/Markdown; charset=utf-8", 1),
        ("application/xml;q=0.9, application/json;q=0.1", 2),
        ("text/*", 1),
        ("application/*;q=0.5, application/xml", 2),
        ("application/json;q=0, */*", 1),
        ("image/png", 0),
        ("text/markdown;q=x", 0),
        ("text/markdown;q=0", 0),
    ],
)
def test_the_heaviest_is_chosen(accept: str | None, chosen: int) -> None:
    """The most exact range gives the weight; the first one where none is named."""
    headers = [] if accept is None else [(b"accept", accept.encode())]

    assert preferred(Request({"type": "http", "headers": headers}), OFFERED) == OFFERED[chosen]
