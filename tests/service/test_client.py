"""The client over HTTP: problems come back as what they were raised as, busy services are asked again."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest

from posneg.service import errors
from posneg.service.client import ATTEMPTS, Client

Reply = tuple[int, dict[str, str], str]
FINE: Reply = (200, {}, '{"total": 1.5}')
BUSY: Reply = (429, {"Retry-After": "0"}, '{"detail": "busy"}')


class Scripted(HTTPServer):
    """Gives one reply after the other, the last one for ever, and keeps what it was asked."""

    replies: list[Reply]
    asked: list[tuple[str, dict[str, str], bytes]]


class Handler(BaseHTTPRequestHandler):
    """Plays the script."""

    server: Scripted

    def do_POST(self) -> None:
        """The next reply."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, dict(self.headers), body))
        replies = self.server.replies
        status, headers, text = replies.pop(0) if len(replies) > 1 else replies[0]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        """Nothing: the test keeps what was asked."""


@contextmanager
def playing(*replies: Reply) -> Iterator[Scripted]:
    with Scripted(("127.0.0.1", 0), Handler) as server:
        server.replies, server.asked = list(replies), []
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def script() -> Iterator[Callable[..., Scripted]]:
    """A server on a real socket that gives these replies."""
    with ExitStack() as stack:
        yield lambda *replies: stack.enter_context(playing(*replies))


def post(server: Scripted, key: str = "", **query: float | str) -> Any:
    with Client(f"http://127.0.0.1:{server.server_port}", key) as client:
        return client.post("/v1/losses", b'{"images": []}', **query)


def test_body_key_and_query_are_sent(script: Callable[..., Scripted]) -> None:
    """The bytes as they are, the key as a bearer token, the rest in the query."""
    server = script(FINE)

    assert post(server, "secret", score=0.5) == {"total": 1.5}

    ((path, headers, body),) = server.asked
    assert (path, body) == ("/v1/losses?score=0.5", b'{"images": []}')
    assert (headers["Authorization"], headers["Content-Type"]) == ("Bearer secret", "application/json")


def test_busy_service_is_asked_again(script: Callable[..., Scripted]) -> None:
    """As often as it says so, but not for ever."""
    server = script(BUSY, BUSY, FINE)
    assert post(server) == {"total": 1.5}
    assert len(server.asked) == 3

    stubborn = script(BUSY)
    with pytest.raises(errors.Unavailable, match="busy"):
        post(stubborn)
    assert len(stubborn.asked) == ATTEMPTS


@pytest.mark.parametrize(
    "raised",
    [
        errors.InvalidRequest,
        errors.BadRequest,
        errors.Unauthorized,
        errors.NotFound,
        errors.Conflict,
        errors.TooLarge,
        errors.UnsupportedMediaType,
        errors.Unavailable,
    ],
)
def test_problem_comes_back_as_it_was_raised(
    raised: type[errors.ServiceError], script: Callable[..., Scripted]
) -> None:
    """Kind, detail and faults, with the number of those beyond the ones that were listed."""
    faults = [errors.Fault(f"/images/{n}", f"wrong {n}", "wrong") for n in range(120)]
    body = errors.problem(raised("it is wrong", faults=faults), "request-1")
    server = script((raised.status, {}, json.dumps(body)))

    with pytest.raises(errors.ServiceError) as caught:
        post(server)

    assert type(caught.value) is raised
    assert "it is wrong" in caught.value.detail
    if raised is not errors.Unavailable:
        assert caught.value.faults == faults[:100]
        assert caught.value.faults_total == 120


@pytest.mark.parametrize(
    "reply",
    [(500, {}, '{"detail": "oh"}'), (502, {}, "<html>"), (200, {}, "<html>"), (307, {"Location": "/"}, "")],
)
def test_what_is_no_answer_of_ours_is_unavailable(reply: Reply, script: Callable[..., Scripted]) -> None:
    """A failing service, a proxy's page, somebody else's page, a redirect."""
    with pytest.raises(errors.Unavailable):
        post(script(reply))


@pytest.mark.parametrize("url", ["localhost", "ftp://localhost", "http://[::1", ""])
def test_what_is_no_url_is_told(url: str) -> None:
    """Before anything is sent."""
    with pytest.raises(errors.BadRequest, match="is no URL"), Client(url) as client:
        client.post("/", b"")
