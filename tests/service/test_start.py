"""The start and the end of the service: without torch, on either database, refused with a reason."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import sqlalchemy
from fastapi.testclient import TestClient

from posneg.service.app import create_app
from posneg.service.settings import Settings
from tests.conftest import SERVE, Server


def test_ready_is_503_without_a_database(tmp_path: Path) -> None:
    """Live, but not ready."""
    app = create_app(Settings(data=tmp_path, worker=False))
    with TestClient(app, raise_server_exceptions=False) as opened:
        assert opened.get("/readyz").json()["checks"]["database"] == "ok"
        app.state.records.close()
        missing = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/no/folder/posneg.sqlite")
        app.state.records.engine = app.state.records._readers = missing
        assert opened.get("/livez").status_code == 200
        answer = opened.get("/readyz")
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


def test_logs_are_json_lines_with_the_id(server: Server) -> None:
    """Each request leaves one line; uvicorn's own lines are JSON too."""
    httpx.get(server.url + "/livez", headers={"X-Request-Id": "seen-in-the-log"})
    httpx.get(server.url + "/livez")  # the line of the one before was written by now
    lines = [json.loads(line) for line in server.log.splitlines()]
    line = next(line for line in lines if line.get("request_id") == "seen-in-the-log")
    assert (line["event"], line["method"], line["path"], line["status"]) == ("request", "GET", "/livez", 200)


def test_the_app_needs_no_torch() -> None:
    """A fresh process makes the app and answers without having loaded it."""
    script = """
import sys, tempfile
from fastapi.responses import FileResponse
from fastapi.testclient import TestClient
from posneg.service.app import create_app
from posneg.service.settings import Settings
with TestClient(create_app(Settings(data=tempfile.mkdtemp(), worker=False))) as client:
    assert client.get("/readyz").status_code == 200
    for path in ("/v1/assigners", "/v1/loss-functions", "/v1/presets", "/openapi.json"):
        client.get(path)
print("torch" in sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert run.stdout.splitlines()[-1:] == ["False"], run.stderr


def test_it_stops_when_told(start_server: Callable[..., Server]) -> None:
    """SIGTERM ends it cleanly, and its data folder can be opened again."""
    server = start_server()
    assert server.stop() == 0
    again = start_server(data=server.data)
    assert httpx.get(again.url + "/readyz").status_code == 200


def test_postgres_serves_as_sqlite_does(start_server: Callable[..., Server], postgres_url: str) -> None:
    """The same service by another URL; two of them share the database."""
    servers = [start_server(database=postgres_url) for _ in range(2)]
    for server in servers:
        assert httpx.get(server.url + "/readyz").json()["checks"]["database"] == "ok"
        assert httpx.get(server.url + "/v1/jobs").json()["data"] == []
        assert list(server.data.glob("*.sqlite")) == []


def test_serving_alone_has_no_jobs(start_server: Callable[..., Server]) -> None:
    """`only=serving` answers for models, and knows neither losses nor jobs."""
    server = start_server(only="serving")
    assert httpx.get(server.url + "/v2/health/live").status_code == 200
    assert httpx.get(server.url + "/v1/models").status_code == 200
    assert httpx.get(server.url + "/v1/jobs").status_code == 404
    assert httpx.post(server.url + "/v1/losses", json={}).status_code == 404


def test_a_taken_port_is_exit_2(server: Server, tmp_path: Path) -> None:
    """The message says which."""
    port = str(urlsplit(server.url).port)
    environment = {"POSNEG_PORT": port, "POSNEG_DATA": str(tmp_path)}
    run = subprocess.run(SERVE, env=environment, capture_output=True, text=True, timeout=60)
    assert run.returncode == 2
    assert port in run.stderr
