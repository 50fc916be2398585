"""`If-None-Match` and `If-Match` against strong entity tags."""

import pytest
from starlette.requests import Request

from posneg.service.errors import PreconditionFailed
from posneg.service.routes.conditional import entity_tag, not_modified, require_match


def request(**headers: str) -> Request:
    """A request with headers."""
    pairs = [(name.replace("_", "-").lower().encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": pairs})


@pytest.mark.parametrize("sent", ['"v1"', 'W/"v1"', '"v0", "v1"', "*", '"v0" ,W/"v1"'])
def test_who_has_it_is_not_sent_it(sent: str) -> None:
    """304 with the tag, weak comparison, any of a list."""
    answer = not_modified(request(If_None_Match=sent), "v1")
    assert answer is not None
    assert (answer.status_code, answer.body) == (304, b"")
    assert answer.headers["etag"] == entity_tag("v1") == '"v1"'


@pytest.mark.parametrize("sent", [None, '"v2"', "v1", ""])
def test_who_has_another_is_sent_it(sent: str | None) -> None:
    """Another tag, one without quotes, or none."""
    assert not_modified(request(**({} if sent is None else {"If_None_Match": sent})), "v1") is None


@pytest.mark.parametrize("sent", [None, '"v1"', '"v0", "v1"', "*"])
def test_a_change_to_what_was_read_passes(sent: str | None) -> None:
    """Without a condition, or with one that names the kept version."""
    require_match(request(**({} if sent is None else {"If_Match": sent})), "v1")


@pytest.mark.parametrize(
    ("sent", "kept"), [('"v0"', "v1"), ('W/"v1"', "v1"), ("v1", "v1"), ('"v1"', None), ("*", None)]
)
def test_a_change_to_something_else_is_412(sent: str, kept: str | None) -> None:
    """Another version, a weak tag, or nothing there."""
    with pytest.raises(PreconditionFailed, match="If-Match"):
        require_match(request(If_Match=sent), kept)
