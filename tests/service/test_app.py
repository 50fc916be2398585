"""What holds for every request: ids, failures as problems, limits of bodies, counting, and a quick start."""

import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import Query, Request
from fastapi.responses import FileResponse
from fastapi.testclient import TestClient
from pydantic import BaseModel, Field

from posneg.service import middleware
from posneg.service.app import create_app
from posneg.service.errors import TooManyRequests, kinds
from posneg.service.settings import Settings
from tests.conftest import Server

MIB = 2**20


class Inner(BaseModel):
    """Something nested."""

    number: int = Field(ge=0)


class Outer(BaseModel):
    """Something with a list and a union, whose pydantic locations carry tags."""

    items: list[Inner | str]
    a: dict[str, Inner] = {}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The app in this process, with routes that fail on purpose."""
    app = create_app(Settings(data=tmp_path_factory.mktemp("app"), worker=False, max_body_mib=1))

    @app.post("/fails/validation")
    def validate(body: Outer, limit: Annotated[int, Query(le=5)] = 1) -> dict[str, Any]:
        """Take what fits."""
        return {}

    @app.get("/fails/unexpectedly")
    @app.get("/v2/fails/unexpectedly", name="break_down_in_v2")
    def break_down() -> None:
        """Fail."""
        secret = "token-in-a-message"
        raise RuntimeError(f"/etc/posneg/{secret}")

    @app.get("/fails/busy")
    def refuse() -> None:
        """Refuse."""
        raise TooManyRequests("come back", retry_after_s=7)

    @app.get("/fails/file")
    def send_file() -> FileResponse:
        """Send a file, of which a part may be asked for."""
        return FileResponse(__file__)

    @app.post("/reads/stream")
    async def read_stream(request: Request) -> int:
        """Count bytes as they come."""
        return sum([len(chunk) async for chunk in request.stream()])

    @app.put("/v1/datasets/{name}/probe")
    async def upload(request: Request, name: str) -> int:
        """Count bytes at once."""
        return len(await request.body())

    with TestClient(app, raise_server_exceptions=False) as opened:
        yield opened


def is_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The body, once it is known to be a whole problem."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["status"] == status
    assert body["code"] == code
    assert body["type"] == f"/problems/{code}"
    assert body["title"] == kinds()[code].title
    assert body["detail"]
    assert body["request_id"] == answer.headers["x-request-id"]
    return body


def test_every_answer_has_an_id(client: TestClient) -> None:
    """The caller's where it is sane, else a new one each time."""
    assert client.get("/livez", headers={"X-Request-Id": "a-1.b:c/d"}).headers["x-request-id"] == "a-1.b:c/d"
    new = {client.get("/livez").headers["x-request-id"] for _ in range(3)}
    assert len(new) == 3
    assert all(re.fullmatch("[0-9a-f]{32}", request_id) for request_id in new)


def test_every_answer_is_what_it_says_it_is(client: TestClient) -> None:
    """A browser may neither guess a type nor load anything from elsewhere."""
    for path in ("/livez", "/docs", "/nowhere"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"].startswith("default-src 'self'")


@pytest.mark.parametrize("sent", ["", "x" * 129, "a b", 'a"b', "<script>", "\xe9"])
def test_strange_ids_are_replaced(client: TestClient, sent: str) -> None:
    """Nothing unbounded or quotable comes back or reaches the log."""
    answer = client.get("/nowhere", headers={"X-Request-Id": sent.encode("latin-1")})
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])
    assert len(answer.headers.get_list("x-request-id")) == 1


def test_what_is_not_there_is_a_problem(client: TestClient) -> None:
    """404, and 405 with what is allowed, name the address."""
    assert "/nowhere" in is_problem(client.get("/nowhere"), 404, "not_found")["detail"]
    answer = client.delete("/livez")
    is_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET"
    is_problem(client.get("/livez/"), 404, "not_found")


def test_the_inference_protocol_has_its_own_errors(client: TestClient) -> None:
    """Below `/v2` every failure is `{"error": text}`, with the id in the header."""
    for path, status in (("/v2/nowhere", 404), ("/v2/fails/unexpectedly", 500)):
        answer = client.get(path)
        assert (answer.status_code, list(answer.json())) == (status, ["error"])
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-request-id"]


def test_every_bad_element_is_pointed_at(client: TestClient) -> None:
    """Pointers lead into the body as it was sent, without pydantic's tags of unions."""
    sent = {"items": ["fine", {"number": 1}, {"number": -1}], "a": {"x/y~z": {}}}
    body = is_problem(client.post("/fails/validation?limit=9", json=sent), 422, "invalid_request")
    pointers = {fault["pointer"] for fault in body["errors"]}
    assert pointers == {"/items/2/number", "/items/2", "/a/x~1y~0z/number", "/query/limit"}
    assert body["errors_total"] == len(body["errors"]) == 4
    assert all(fault["detail"] and fault["code"] for fault in body["errors"])


def test_a_hundred_bad_elements_are_named_and_all_counted(client: TestClient) -> None:
    """The rest is a number."""
    sent = {"items": [], "a": {str(n): {"number": "x"} for n in range(250)}}
    body = is_problem(client.post("/fails/validation", json=sent), 422, "invalid_request")
    assert len(body["errors"]) == 100
    assert body["errors_total"] == 250


@pytest.mark.parametrize("sent", [b"{", b"nonsense", b'{"a": }', b"\x00"])
def test_what_is_no_json_is_told_apart(client: TestClient, sent: bytes) -> None:
    """422 `invalid_json`, not a list of missing fields."""
    headers = {"Content-Type": "application/json"}
    is_problem(client.post("/fails/validation", content=sent, headers=headers), 422, "invalid_json")


@pytest.mark.parametrize(
    "sent", [b'{"a": {"\\ud800": {}}, "items": []}', b'"\xff\xfe"', b"[" * 100_000, b"9" * 5000]
)
def test_what_breaks_the_parser_is_a_bad_request(client: TestClient, sent: bytes) -> None:
    """Bytes that are no text, bottomless nesting, endless digits: never a 500."""
    headers = {"Content-Type": "application/json"}
    answer = client.post("/fails/validation", content=sent, headers=headers)
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_unexpected_tells_the_caller_nothing(
    client: TestClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """A 500 problem with the id under which the log has the exception; no path, message or trace."""
    answer = client.get("/fails/unexpectedly", headers={"X-Request-Id": "find-me"})
    is_problem(answer, 500, "internal_error")
    assert answer.headers.get_list("x-request-id") == ["find-me"]
    for leak in ("token-in-a-message", "Traceback", "RuntimeError", "/etc", ".py"):
        assert leak not in answer.text
    logged = capsys.readouterr().out
    assert "find-me" in logged
    assert "token-in-a-message" in logged


def test_a_problem_keeps_its_headers(client: TestClient) -> None:
    """Retry-After arrives."""
    answer = client.get("/fails/busy")
    is_problem(answer, 429, "too_many_requests")
    assert answer.headers["retry-after"] == "7"


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [("bytes=99999999-", 416, "range_not_satisfiable"), ("lines=1", 400, "bad_request")],
)
def test_what_a_library_answers_in_text_is_a_problem_too(
    client: TestClient, sent: str, status: int, code: str
) -> None:
    """Parts of files that are not there."""
    answer = client.get("/fails/file", headers={"Range": sent})
    is_problem(answer, status, code)
    assert ("content-range" in answer.headers) == (status == 416)
    assert client.get("/fails/file", headers={"Range": "bytes=0-2"}).text == '"""'


def chunks(size: int) -> Iterator[bytes]:
    """A body of undeclared length, in pieces of 64 KiB."""
    for start in range(0, size, 65536):
        yield b"x" * min(65536, size - start)


@pytest.mark.parametrize("path", ["/fails/validation", "/reads/stream", "/livez", "/nowhere"])
def test_a_declared_body_above_the_limit_is_refused(client: TestClient, path: str) -> None:
    """Wherever it is sent, before anything is read."""
    is_problem(client.post(path, content=b"x" * (MIB + 1)), 413, "too_large")


@pytest.mark.parametrize("path", ["/fails/validation", "/reads/stream"])
def test_an_undeclared_body_is_counted(client: TestClient, path: str) -> None:
    """Chunked bodies are refused once they pass the limit, by whatever way they are read."""
    is_problem(client.post(path, content=chunks(3 * MIB)), 413, "too_large")
    assert client.post("/reads/stream", content=chunks(MIB)).json() == MIB


def test_uploads_have_a_limit_of_their_own(client: TestClient) -> None:
    """Data sets and models are larger than JSON may be."""
    assert client.put("/v1/datasets/x/probe", content=b"x" * (2 * MIB)).json() == 2 * MIB
    is_problem(client.post("/v1/datasets/x/probe", content=b"x" * (2 * MIB)), 413, "too_large")


def test_a_body_of_a_gigabyte_is_answered_and_not_kept(start_server: Callable[..., Server]) -> None:
    """The caller reads the 413 although it never stopped sending, and the service stays small."""
    server = start_server(max_body_mib=1)
    address = urlsplit(server.url)
    piece = b"x" * MIB
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(b"POST /v1/losses HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(1024):
            connection.sendall(b"%x\r\n%b\r\n" % (MIB, piece))
        connection.sendall(b"0\r\n\r\n")
        head = connection.makefile("rb").readline()
    assert b" 404 " in head or b" 413 " in head
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    assert int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) < 400_000  # type: ignore[union-attr]
    assert httpx.get(server.url + "/livez").status_code == 200


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "9" * 30])
def test_a_strange_length_never_breaks(server: Server, length: str) -> None:
    """Refused by the protocol or by us, and the next request is served."""
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(
            f"POST /v1/losses HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode()
        )
        connection.shutdown(socket.SHUT_WR)
        head = connection.makefile("rb").readline()
    assert head.split()[1] in (b"400", b"413")
    assert httpx.get(server.url + "/livez").status_code == 200


def test_every_problem_type_explains_itself(client: TestClient) -> None:
    """Its address answers programs with JSON and browsers with a page."""
    listed = client.get("/problems").json()["data"]
    assert [kind["code"] for kind in listed] == list(kinds())
    for kind in listed:
        shown = client.get(kind["type"]).json()
        assert shown == kind
        assert shown["meaning"]
        page = client.get(kind["type"], headers={"Accept": "text/html,*/*;q=0.8"})
        assert page.headers["content-type"].startswith("text/html")
        assert kind["title"] in page.text
    is_problem(client.get("/problems/none"), 404, "not_found")


def test_metrics_count_by_template(client: TestClient) -> None:
    """The label is the route, never the path: a scan of addresses makes no new series."""
    client.get("/problems/not_found")
    client.get("/a-path-that-nobody-registered")
    text = client.get("/metrics").text
    assert 'posneg_http_requests_total{method="GET",route="/problems/{code}",status="200"}' in text
    assert 'route="unmatched",status="404"' in text
    assert "a-path-that-nobody-registered" not in text
    assert 'posneg_http_request_duration_seconds_bucket{le="0.1",method="GET",route="/livez"}' in text
    assert "posneg_http_requests_in_flight 1.0" in text


def test_limits_are_those_in_force(client: TestClient) -> None:
    """Each with value, unit and what it bounds."""
    limits = client.get("/v1/limits").json()["limits"]
    assert limits["max_body_mib"]["value"] == 1
    assert limits["max_body_mib"]["unit"] == "MiB"
    assert {name for name in Settings.model_fields if name.startswith("max_")} <= set(limits)
    assert all(limit["unit"] and limit["description"] for limit in limits.values())


def test_the_contract_is_published(client: TestClient) -> None:
    """OpenAPI 3.1 in which failures are problems; the page of it loads nothing from elsewhere."""
    schema = client.get("/openapi.json").json()
    assert schema["openapi"].startswith("3.1")
    operations = [(path, o) for path, methods in schema["paths"].items() for o in methods.values()]
    for path, operation in operations:
        media = "application/json" if path.startswith("/v2") else "application/problem+json"
        assert list(operation["responses"]["default"]["content"]) == [media]
        assert operation["description"], path
    ids = [operation["operationId"] for _, operation in operations]
    assert len(ids) == len(set(ids)), sorted(i for i in ids if ids.count(i) > 1)
    page = client.get("/docs").text
    assert "http://" not in page
    assert "https://" not in page
    assert "/v1/limits" in page


def test_the_rest_of_a_body_is_read_for_a_while_only() -> None:
    """A caller that never ends does not hold its connection for ever."""
    assert middleware.LINGER_S <= 60
