"""Assignments and losses over HTTP: the article, every form and encoding, refusals, and a bounded line."""

import gzip
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import httpx
import numpy as np
import pytest
import zstandard
from safetensors.numpy import save

from posneg.service.errors import TooManyRequests
from posneg.service.routes.line import Line
from posneg.service.schemas.loss_request import EXAMPLE
from tests.conftest import Server
from tests.service.schemas.requests import COCO, GRID, HEAD, changed

JSON = {"Content-Type": "application/json"}
WAIT_S = 60


def post(server: Server, body: bytes, path: str = "/v1/losses", **headers: str) -> httpx.Response:
    return httpx.post(server.url + path, content=body, headers=JSON | headers, timeout=WAIT_S)


def ask(server: Server, request: object, path: str = "/v1/losses") -> httpx.Response:
    return post(server, json.dumps(request).encode(), path)


def within(part: Any, whole: Any) -> bool:
    """Whether `whole` says all that `part` says; numbers to nine digits."""
    if isinstance(part, dict):
        return all(key in whole and within(value, whole[key]) for key, value in part.items())
    if isinstance(part, list):
        return len(part) == len(whole) and all(map(within, part, whole))
    if isinstance(part, float):
        return whole == pytest.approx(part, rel=1e-9)
    return bool(part == whole)


@pytest.mark.parametrize("path", ["/v1/losses", "/v1/assignments"])
def test_the_documented_example_is_answered_as_documented(server: Server, path: str) -> None:
    """The contract's example request, sent for real, gives what the contract says."""
    operation = httpx.get(server.url + "/openapi.json").json()["paths"][path]["post"]
    request = operation["requestBody"]["content"]["application/json"]["example"]
    documented = operation["responses"]["200"]["content"]["application/json"]["example"]

    answered = ask(server, request, path)

    assert answered.status_code == 200
    assert answered.headers["content-type"] == "application/json"
    assert within(documented, answered.json())


def test_the_article_is_answered_to_the_digit(server: Server) -> None:
    """Both totals: with what negatives pay, and without."""
    without = changed(EXAMPLE, ("loss", "classification"), {"negative_weight": 0})

    assert ask(server, EXAMPLE).json()["total"] == pytest.approx(54.685179, abs=5e-7)
    assert ask(server, without).json()["total"] == pytest.approx(54.105361, abs=5e-7)


@pytest.mark.parametrize("request_", [GRID, HEAD, COCO], ids=["grid", "head", "coco"])
def test_every_form_is_answered(server: Server, request_: object) -> None:
    """Lists, columns with a grid or what a head emits, and COCO."""
    assert ask(server, request_).status_code == 200
    assert "total" not in ask(server, request_, "/v1/assignments").json()


def test_notices_are_among_the_warnings(server: Server) -> None:
    """What the reading reconciled is told in the answer."""
    request = changed(COCO, ("coco", "predictions", 0, "image_id"), "0")

    assert "ID_TYPE_MISMATCH" in [w["code"] for w in ask(server, request).json()["warnings"]]


@pytest.mark.parametrize(("encoding", "encode"), [("gzip", gzip.compress), ("zstd", zstandard.compress)])
def test_encoded_bodies_are_read(server: Server, encoding: str, encode: Callable[[bytes], bytes]) -> None:
    """The same answer as for the plain body."""
    plain = json.dumps(EXAMPLE).encode()

    answered = post(server, encode(plain), **{"Content-Encoding": encoding})

    assert answered.json() == post(server, plain).json()


def test_safetensors_answer_as_json_does(server: Server) -> None:
    """Columns as tensors, the rest in the metadata."""
    columns = {name: np.array(GRID["images"][0]["predictions"][name], float) for name in ("boxes", "logits")}
    rest = changed(GRID, ("images", 0, "predictions"), {"grid": {"strides": [8]}})
    body = save(
        {f"images.0.predictions.{name}": column for name, column in columns.items()},
        metadata={"request": json.dumps(rest)},
    )

    answered = post(server, body, **{"Content-Type": "application/x-safetensors"})

    assert answered.json() == ask(server, GRID).json()


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{", {}, 422, "invalid_json"),
        (b"", {}, 422, "invalid_json"),
        (b"[]", {}, 422, "invalid_request"),
        (b"\xff\xfe", {}, 422, "invalid_json"),
        (b"[" * 100_000, {}, 422, "invalid_json"),
        (b"junk", {"Content-Type": "application/x-safetensors"}, 422, "invalid_request"),
        (b"a=1", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"),
        (b"{}", {"Content-Encoding": "br"}, 415, "unsupported_media_type"),
        (b"{}", {"Content-Encoding": "gzip"}, 400, "bad_request"),
        (b"{}", {"Content-Encoding": "zstd"}, 400, "bad_request"),
    ],
    ids=range(10),
)
def test_what_cannot_be_read_is_a_problem(
    server: Server, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    """Never a 500: each has its status and its code."""
    answered = post(server, body, **headers)

    assert (answered.status_code, answered.json()["code"]) == (status, code)
    assert answered.headers["content-type"] == "application/problem+json"


def test_faults_are_told_with_pointers(server: Server) -> None:
    """All of them, with their number."""
    request = changed(EXAMPLE, ("images", 0, "ground_truth", 1, "box"), [1, 2, "x", 4])
    request = changed(request, ("images", 0, "predictions", 0, "label"), "lorry")

    answered = ask(server, request).json()

    assert [error["pointer"] for error in answered["errors"]] == [
        "/images/0/ground_truth/1/box",
        "/images/0/predictions/0/label",
    ]
    assert answered["errors_total"] == 2


@pytest.mark.parametrize(
    "image",
    [
        {},
        {"ground_truth": [{"label": 0, "box": [0, 0, 9, 9]}]},
        {"predictions": [{"label": 0, "score": 0.5, "box": [0, 0, 9, 9]}]},
        {"ground_truth": [{"label": 0, "box": [0, 0, 9, 9], "ignore": True}]},
        {"ground_truth": [{"label": 0, "box": [5, 5, 5, 5]}, {"label": 0, "box": [9, 9, 1, 1]}]},
        {"predictions": {"boxes": [[0, 0, 9, 9]], "logits": [[1e4]], "points": [[4, 4]], "strides": [8]}},
        {"predictions": {"boxes": [[0, 0, 9, 9]], "logits": [[-1e4]], "points": [[4, 4]], "strides": [8]}},
        {"predictions": {"boxes": [[float("nan")] * 4], "scores": [[float("inf")]]}},
    ],
    ids=["empty", "only-truth", "only-guess", "ignored", "degenerate", "high", "low", "nonfinite"],
)
def test_what_is_empty_or_extreme_is_answered(server: Server, image: object) -> None:
    """Data to diagnose is no mistake of the request; the answer is strict JSON."""
    answered = ask(server, {"images": [image]})

    assert answered.status_code == 200
    json.loads(answered.content, parse_constant=lambda name: pytest.fail(f"a bare {name}"))


def test_no_images_are_answered(server: Server) -> None:
    """The sum over nothing is 0."""
    answered = ask(server, {"images": []})

    assert (answered.status_code, answered.json()["total"]) == (200, 0)


def test_a_body_that_inflates_beyond_the_limit_is_refused(start_server: Callable[..., Server]) -> None:
    """And one that is too large as it is; the service goes on."""
    server = start_server(max_body_mib=1)

    for encoding, body in (("gzip", gzip.compress(bytes(2**21))), ("zstd", zstandard.compress(bytes(2**21)))):
        assert post(server, body, **{"Content-Encoding": encoding}).status_code == 413
    assert post(server, bytes(2**21)).status_code == 413
    assert ask(server, EXAMPLE).status_code == 200


def test_more_pairs_than_allowed_are_refused(start_server: Callable[..., Server]) -> None:
    """The limit is the operator's."""
    answered = ask(start_server(max_pairs=5), EXAMPLE)

    assert (answered.status_code, answered.json()["code"]) == (413, "too_large")


def test_a_full_line_sends_callers_away() -> None:
    """One runs, eight wait, the tenth is told when to come back."""
    entered, go = threading.Event(), threading.Event()

    def work() -> bytes:
        entered.set()
        go.wait(WAIT_S)
        return b"done"

    async def crowd() -> list[bytes]:
        line, done = Line(1), []

        async def enter() -> None:
            done.append(await line.run(work))

        async with anyio.create_task_group() as group:
            for _ in range(1 + line.max_waiting):
                group.start_soon(enter)
            await anyio.to_thread.run_sync(partial(entered.wait, WAIT_S))
            with pytest.raises(TooManyRequests) as caught:
                await line.run(work)
            assert caught.value.headers == {"Retry-After": "1"}
            go.set()
        done.append(await line.run(work))
        return done

    assert anyio.run(crowd) == [b"done"] * 10


def test_the_route_waits_with_torch() -> None:
    """Importing it, and reading a request, leaves torch alone."""
    script = (
        "import sys, json; from posneg.service.routes import losses; "
        "losses.parse(json.dumps(losses.EXAMPLE).encode()); sys.exit('torch' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
