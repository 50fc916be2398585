"""One loss alone over HTTP: the documented example, golden vectors, refusals, and that torch waits."""

import gzip
import json
import subprocess
import sys
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from posneg.models.losses import losses
from posneg.service.schemas.loss_inputs import INPUTS
from tests.conftest import Server
from tests.models import goldens
from tests.service.engine.loss_cases import VALID, valid
from tests.service.engine.loss_goldens import asked
from tests.service.routes.asking import is_problem
from tests.service.routes.test_losses import within

WAIT_S = 60


def post(server: Server, name: str, body: bytes, **headers: str) -> httpx.Response:
    headers = {"Content-Type": "application/json"} | headers
    return httpx.post(f"{server.url}/v1/loss-functions/{name}", content=body, headers=headers, timeout=WAIT_S)


def ask(server: Server, name: str, request: object) -> httpx.Response:
    return post(server, name, json.dumps(request).encode())


def test_the_documented_example_is_answered_as_documented(server: Server) -> None:
    """The contract's example, sent for real to the loss that it names, gives what the contract says."""
    operation = httpx.get(server.url + "/openapi.json").json()["paths"]["/v1/loss-functions/{name}"]["post"]
    request = operation["requestBody"]["content"]["application/json"]["example"]
    documented = operation["responses"]["200"]["content"]["application/json"]["example"]
    [name] = [parameter for parameter in operation["parameters"] if parameter["in"] == "path"]

    answered = ask(server, name["schema"]["example"], request)

    assert name["schema"]["enum"] == list(losses)
    assert answered.status_code == 200
    assert answered.headers["content-type"] == "application/json"
    assert within(documented, answered.json())


@pytest.mark.parametrize("name", ["loss_vfl_ppyoloe_a", "loss_dfl_ultralytics_r4", "loss_ce_weighted_eos_a"])
def test_golden_vectors_go_in_as_they_are(server: Server, name: str) -> None:
    """Inputs by their own names; gradients come back under them."""
    golden = goldens.load(name)
    loss, request = asked(name, golden)

    answered = ask(server, loss, request).json()

    assert answered["sum"] == pytest.approx(golden["expected"]["loss_sum"], rel=1e-5)
    assert answered["gradients"].keys() <= golden["inputs"].keys()


def test_what_each_loss_takes_is_listed(server: Server) -> None:
    """Every input with its names, and every listed loss takes them by any of these names."""
    listed = httpx.get(server.url + "/v1/loss-functions", params={"limit": 100}).json()["data"]
    for loss in listed:
        described = loss["evaluation"]["inputs"]
        assert described
        assert all(one["names"] and one["shape"] and one["description"] for one in described)
        inputs = valid(loss["name"])
        renamed = {
            next(one["names"][-1] for one in described if name in one["names"]): value
            for name, value in inputs.items()
        }
        first, last = (ask(server, loss["name"], {"inputs": form}).json() for form in (inputs, renamed))
        assert first["per_element"] == last["per_element"]
    schema = httpx.get(server.url + "/openapi.json").json()["paths"]["/v1/loss-functions/{name}"]["post"]
    properties = schema["requestBody"]["content"]["application/json"]["schema"]["properties"]["inputs"]
    assert properties["properties"].keys() == {
        name for inputs in INPUTS.values() for one in inputs for name in one.names
    }


def test_nonfinite_numbers_are_data(server: Server) -> None:
    """NaN in the body is null in the answer, which is strict JSON."""
    request = {"inputs": {"logits": [[float("nan"), 0.0]], "targets": [[1.0, 0.0]]}}

    answered = ask(server, "focal", request)

    body = json.loads(answered.content, parse_constant=lambda name: pytest.fail(f"a bare {name}"))
    assert answered.status_code == 200
    assert body["nonfinite"] == ["/per_element/0/0", "/sum", "/mean"]


def test_refusals_are_problems(server: Server) -> None:
    """An unknown loss, no JSON, another kind of body, faults with pointers, too large a body."""
    inputs = {"inputs": VALID["classification"]}
    is_problem(ask(server, "folcal", inputs), 404, "not_found")
    is_problem(post(server, "focal", b"{"), 422, "invalid_json")
    is_problem(post(server, "focal", b"x", **{"Content-Type": "text/csv"}), 415, "unsupported_media_type")
    body = is_problem(ask(server, "focal", {**inputs, "parameters": {"alhpa": 1}}), 422, "invalid_request")
    assert [error["pointer"] for error in body["errors"]] == ["/parameters/alhpa"]


def test_encoded_bodies_are_read(server: Server) -> None:
    """The same answer as for the plain body."""
    plain = json.dumps({"inputs": VALID["overlap"]}).encode()

    encoded = post(server, "giou", gzip.compress(plain), **{"Content-Encoding": "gzip"})

    assert encoded.json() == post(server, "giou", plain).json()


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from([*losses, "none"]),
    value=junk,
    cut=st.integers(0, 200),
    member=st.sampled_from(
        ["inputs", "parameters", "gradients", "dtype", "logits", "targets", "pred", "target", "labels"]
    ),
)
def test_no_body_breaks_the_service(server: Server, name: str, value: object, cut: int, member: str) -> None:
    """Any value as the body or in it, and a body that ends too early: an answer or a problem, never a 500."""
    inputs: dict[str, Any] = valid(name) if name in losses else {}
    body = {"inputs": inputs, "gradients": True}
    changed = (
        body | {member: value}
        if member in ("inputs", "parameters", "gradients", "dtype")
        else body | {"inputs": inputs | {member: value}}
    )
    for sent in (json.dumps(value).encode(), json.dumps(changed).encode(), json.dumps(body).encode()[:cut]):
        assert post(server, name, sent).status_code in (200, 404, 422)


def test_the_route_waits_with_torch() -> None:
    """Importing it, and what it needs for the contract, leaves torch alone."""
    script = "import sys; from posneg.service.routes import loss_functions; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
