"""Bad input over HTTP: each gets a problem that points at it, never a 500, and the service lives on."""

import io
import json
import socket
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from benchmarks.acceptance.outcome import passed, require
from posneg.service.schemas.loss_request import EXAMPLE
from tests.conftest import launch
from tests.service import onnx_models

GIGABYTE = 1 << 30


def changed(path: list[Any], value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """The article's request with one element replaced."""
    request = json.loads(json.dumps(EXAMPLE))
    element = request
    for step in path[:-1]:
        element = element[step]
    element[path[-1]] = value
    return json.dumps(request).encode()


def zip_with(name: str) -> bytes:
    """An archive of one member."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, b"out of here")
    return buffer.getvalue()


def chunks() -> Iterator[bytes]:
    """A gigabyte whose length is not told beforehand."""
    for _ in range(GIGABYTE >> 20):
        yield b" " * (1 << 20)


BOX = ["images", 0, "ground_truth", 0]
TRUNCATED_JPEG = bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffdb0043000302")
CASES: list[tuple[str, str, str, bytes, str, set[int]]] = [
    ("not JSON", "POST", "/v1/losses", b"{", "application/json", {400, 422}),
    ("a wrong type", "POST", "/v1/losses", changed([*BOX, "box"], "left"), "application/json", {422}),
    ("an unknown class", "POST", "/v1/losses", changed([*BOX, "label"], "boat"), "application/json", {422}),
    ("NaN", "POST", "/v1/losses", changed([*BOX, "box", 0], float("nan")), "application/json", {200}),
    ("a box of zero area", "POST", "/v1/losses", changed([*BOX, "box", 2], 100), "application/json", {200}),
    ("a truncated JPEG", "POST", "/v1/models/eyes/predict", TRUNCATED_JPEG, "image/jpeg", {422}),
    ("a zip with ../", "PUT", "/v1/datasets/bad", zip_with("../x.json"), "application/zip", {422}),
    ("a zip that is none", "PUT", "/v1/datasets/bad", b"PK\x03\x04" + b"x" * 99, "application/zip", {422}),
    ("an ONNX that is none", "PUT", "/v1/models/bad", b"not a model", "application/octet-stream", {422}),
]


def declared_gigabyte(url: str) -> int:
    """The status for a body that says it has a gigabyte, of which nothing is sent."""
    host = urlsplit(url)
    head = f"POST /v1/losses HTTP/1.1\r\nHost: {host.netloc}\r\nContent-Length: {GIGABYTE}\r\n\r\n"
    with socket.create_connection((host.hostname, host.port), timeout=30) as connection:
        connection.sendall(head.encode())
        return int(connection.recv(64).split()[1])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        server = launch(Path(folder))
        try:
            model = onnx_models.detector(Path(folder) / "eyes.onnx").read_bytes()
            httpx.put(f"{server.url}/v1/models/eyes", content=model, timeout=60).raise_for_status()
            for what, method, path, body, kind, wanted in CASES:
                answer = httpx.request(
                    method, server.url + path, content=body, headers={"Content-Type": kind}, timeout=60
                )
                require(answer.status_code in wanted, what, (answer.status_code, answer.text[:300]))
                passed(
                    what, f"{answer.status_code} {answer.json().get('code', answer.json().get('verdict'))}"
                )
            status = declared_gigabyte(server.url)
            require(status == 413, "a body that declares 1 GB", status)
            passed("a body that declares 1 GB", str(status))
            try:
                status = httpx.post(f"{server.url}/v1/losses", content=chunks(), timeout=60).status_code
            except httpx.TransportError:
                status = 413  # refused and closed while the rest was on its way
            require(status == 413, "1 GB in chunks", status)
            passed("1 GB in chunks", str(status))
            require(httpx.get(f"{server.url}/readyz").status_code == 200, "the service lives on")
            passed("the service lives on")
        finally:
            server.stop()
