"""Coverage over HTTP: the documented example, refusals, and that torch is not needed."""

import json
import subprocess
import sys

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from posneg.service.schemas.coverage import EXAMPLE
from tests.conftest import Server
from tests.service.routes.asking import is_problem

junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=10,
)


def post(server: Server, body: bytes, kind: str = "application/json") -> httpx.Response:
    return httpx.post(server.url + "/v1/coverage", content=body, headers={"Content-Type": kind}, timeout=60)


def test_the_documented_example_is_answered_as_documented(server: Server) -> None:
    """The contract's example, sent for real, gives what the contract says."""
    operation = httpx.get(server.url + "/openapi.json").json()["paths"]["/v1/coverage"]["post"]
    request = operation["requestBody"]["content"]["application/json"]["example"]
    documented = operation["responses"]["200"]["content"]["application/json"]["example"]

    answered = post(server, json.dumps(request).encode())

    assert answered.status_code == 200
    assert answered.json() == documented


def test_refusals_are_problems(server: Server) -> None:
    """No JSON, another kind of body, faults with pointers."""
    is_problem(post(server, b""), 422, "invalid_json")
    is_problem(post(server, b"x", "text/csv"), 415, "unsupported_media_type")
    body = is_problem(
        post(server, json.dumps({**EXAMPLE, "strides": [8, -1]}).encode()), 422, "invalid_request"
    )
    assert [error["pointer"] for error in body["errors"]] == ["/strides/1"]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=junk, name=st.sampled_from([*EXAMPLE, "coco", "classes", "box_format"]), cut=st.integers(0, 200))
def test_no_body_breaks_the_service(server: Server, value: object, name: str, cut: int) -> None:
    """Any value as the body or in it, and a body that ends too early: an answer or a problem, never a 500."""
    valid = json.dumps(EXAMPLE).encode()
    for body in (json.dumps(value).encode(), json.dumps({**EXAMPLE, name: value}).encode(), valid[:cut]):
        assert post(server, body).status_code in (200, 422)


def test_torch_is_not_needed() -> None:
    """A process that answered has not loaded it."""
    script = (
        "import sys; from posneg.service.routes.coverage import EXAMPLE, coverage; "
        "coverage(EXAMPLE); sys.exit('torch' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
