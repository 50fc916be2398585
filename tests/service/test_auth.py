"""Keys: who gets in, and where the service refuses to start without them."""

import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posneg.service.auth import OPEN, Authorized, refusal
from posneg.service.settings import Settings
from tests.conftest import SERVE, Server, launch

KEYS = "first-key, second-key"


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service with two keys."""
    running = launch(tmp_path_factory.mktemp("locked"), api_keys=KEYS)
    yield running
    running.stop()


def get(server: Server, path: str, authorization: str | None = None) -> httpx.Response:
    headers = {} if authorization is None else {"Authorization": authorization}
    return httpx.get(server.url + path, headers=headers)


@pytest.mark.parametrize("key", ["first-key", "second-key"])
def test_each_key_opens(locked: Server, key: str) -> None:
    """Every key of the list is as good as another; the scheme's case does not matter."""
    assert get(locked, "/v1/limits", f"Bearer {key}").status_code == 200
    assert get(locked, "/v1/limits", f"bearer {key}").status_code == 200


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer wrong", "Bearer first-key,second-key", "Basic first-key", "first-key"],
)
@pytest.mark.parametrize("path", ["/v1/limits", "/metrics", "/openapi.json", "/docs", "/nowhere"])
def test_without_a_key_nothing_is_told(locked: Server, path: str, authorization: str | None) -> None:
    """401 as a problem with a challenge, also for what does not exist."""
    answer = get(locked, path, authorization)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "unauthorized"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_the_inference_protocol_is_locked_in_its_own_words(locked: Server) -> None:
    """Below `/v2` the body is `{"error": text}`."""
    answer = get(locked, "/v2")
    assert answer.status_code == 401
    assert list(answer.json()) == ["error"]


@pytest.mark.parametrize("path", [*sorted(OPEN), "/problems/unauthorized"])
def test_probes_and_explanations_need_no_key(locked: Server, path: str) -> None:
    """An orchestrator can probe, and a 401's own type can be read."""
    assert get(locked, path).status_code == 200


@pytest.mark.parametrize("path", ["//livez", "/livez/", "/livez/../v1/limits", "/problems/../v1/limits"])
def test_open_paths_open_nothing_else(locked: Server, path: str) -> None:
    """No spelling of an open path leads to what is locked."""
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    address = urlsplit(locked.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(request)
        status = connection.makefile("rb").readline().split()[1]
    assert status in (b"401", b"404")


def test_keys_never_show(locked: Server) -> None:
    """Neither right nor wrong keys are in answers, and the settings do not print them."""
    assert "wrong-key" not in get(locked, "/v1/limits", "Bearer wrong-key").text
    assert "wrong-key" not in locked.log
    assert "first-key" not in locked.log
    assert "first-key" not in get(locked, "/v1/limits", "Bearer first-key").text
    assert "first-key" not in repr(Settings(api_keys=KEYS))


@given(st.text(max_size=50))
def test_no_other_text_is_a_key(text: str) -> None:
    """Whatever is sent, only the keys themselves pass."""
    gate = Authorized(lambda *_: None, Settings(api_keys=KEYS))
    assert gate._knows(f"Bearer {text}") == (text.strip() in ("first-key", "second-key"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.9.9.9"])
def test_loopback_needs_no_key(host: str) -> None:
    """Whoever can connect is on this machine already."""
    assert refusal(Settings(host=host)) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "posneg.example.org", ""])
def test_other_addresses_need_one(host: str) -> None:
    """Unless there is a key, or somebody says that none is wanted."""
    reason = refusal(Settings(host=host))
    assert reason is not None
    assert "POSNEG_API_KEYS" in reason
    assert refusal(Settings(host=host, api_keys="k")) is None
    assert refusal(Settings(host=host, insecure=True)) is None
    assert refusal(Settings(host=host, api_keys=" , ")) is not None


def test_refusing_to_start_is_exit_2(tmp_path: Path) -> None:
    """The message is on standard error, and nothing was created."""
    environment = {"POSNEG_HOST": "0.0.0.0", "POSNEG_PORT": "0", "POSNEG_DATA": str(tmp_path / "data")}
    run = subprocess.run(SERVE, env=environment, capture_output=True, text=True, timeout=60)
    assert run.returncode == 2
    assert "without a key" in run.stderr
    assert not (tmp_path / "data").exists()


def test_insecure_opens_every_address(start_server: Callable[..., Server]) -> None:
    """Told so, it listens everywhere without keys."""
    running = start_server(host="0.0.0.0", insecure=True)
    assert get(running, "/v1/limits").status_code == 200
