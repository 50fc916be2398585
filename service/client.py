"""A client of the service over HTTP, for the command line's `--url`."""

import time
from types import TracebackType
from typing import Any

import httpx
import orjson

from posneg.service.errors import BadRequest, Fault, ServiceError, TooManyRequests, Unavailable, kinds

ATTEMPTS = 5  # of a request that a busy service puts off
LONGEST_WAIT_S = 30.0


class Client:
    """One service; its problems come back as the exceptions that they were raised as."""

    def __init__(self, url: str, api_key: str = "", *, timeout_s: float = 600.0) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self.url = url
        try:
            self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s)
        except httpx.InvalidURL as error:
            raise BadRequest(f"{url!r} is no URL: {error}") from error

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def post(self, path: str, body: bytes, **query: float | str) -> Any:  # noqa: ANN401 - JSON
        """Send JSON, return the JSON answer; a busy service is asked again when it says so."""
        for attempt in range(ATTEMPTS):
            response = self._send(path, body, query)
            if response.status_code != TooManyRequests.status or attempt == ATTEMPTS - 1:
                break
            time.sleep(_wait_s(response))
        return _answer(response, self.url)

    def _send(self, path: str, body: bytes, query: dict[str, float | str]) -> httpx.Response:
        try:
            return self._http.post(
                path, content=body, params=query, headers={"Content-Type": "application/json"}
            )
        except httpx.UnsupportedProtocol as error:
            raise BadRequest(f"{self.url!r} is no URL: {error}") from error
        except httpx.TransportError as error:
            raise Unavailable(f"no answer from {self.url}: {error or type(error).__name__}") from error


def _wait_s(response: httpx.Response) -> float:
    after = response.headers.get("Retry-After", "1")
    return min(float(after) if after.isdecimal() else 1.0, LONGEST_WAIT_S)


def _answer(response: httpx.Response, url: str) -> Any:  # noqa: ANN401 - JSON
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError as error:
        raise Unavailable(f"{url} answered {response.status_code} and no JSON: is it posneg?") from error
    if response.is_success:
        return body
    raise _problem(response.status_code, body if isinstance(body, dict) else {}, url)


def _problem(status: int, body: dict[str, Any], url: str) -> ServiceError:
    """The exception that a problem (RFC 9457) was rendered from, as far as it tells."""
    detail = str(body.get("detail") or body.get("title") or f"{url} answered {status}")
    if status >= 500 or status == TooManyRequests.status:
        return Unavailable(f"{url}: {detail} (status {status}, request {body.get('request_id', 'unknown')})")
    kind = kinds().get(str(body.get("code")), BadRequest)
    faults = [
        Fault(str(e.get("pointer", "")), str(e.get("detail", "")), str(e.get("code", "")))
        for e in body.get("errors", [])
    ]
    return kind(detail, faults=faults, faults_total=int(body.get("errors_total", 0)))
