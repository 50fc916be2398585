"""Comparisons over HTTP: the example, two sides, records in place of requests, refusals that point."""

import json
from copy import deepcopy
from typing import Any

import httpx
import pytest

from posneg.service.checks.baseline import dumps, snapshot
from posneg.service.schemas.comparison import EXAMPLE
from posneg.service.schemas.loss_request import EXAMPLE as REQUEST
from tests.conftest import Server
from tests.service.engine.comparing import PARTS
from tests.service.routes.asking import is_problem
from tests.service.routes.test_losses import within

Json = dict[str, Any]
LENIENT = {**REQUEST, "assigner": {"min_iou": 0.3}}
PATH = "/v1/comparisons"


def post(server: Server, body: Any, path: str = PATH) -> httpx.Response:
    return httpx.post(server.url + path, json=body, timeout=60)


def test_the_documented_example_is_answered_as_documented(server: Server) -> None:
    """The contract's example request, sent for real, gives what the contract says."""
    operation = httpx.get(server.url + "/openapi.json").json()["paths"][PATH]["post"]
    request = operation["requestBody"]["content"]["application/json"]["example"]
    documented = operation["responses"]["200"]["content"]["application/json"]["example"]

    answered = post(server, request)

    assert answered.status_code == 200
    assert within(documented, answered.json())


def test_two_requests_are_explained(server: Server) -> None:
    """A lower threshold takes one more prediction: the assignment has all of the move."""
    answer = post(server, {"a": REQUEST, "b": LENIENT}).json()

    assert [v["name"] for v in answer["variants"]] == ["a", "b"]
    assert answer["variants"][0]["total"] == pytest.approx(54.685179, abs=5e-7)
    (pair,) = answer["pairs"]
    assert [(f["prediction"], f["reason"]) for f in pair["flips"]] == [("B", "TOP_K")]
    assert pair["flips"][0]["a"]["margin"] == pytest.approx(-0.2)
    for term in pair["explanation"]["terms"].values():
        assert term["assignment"] == pytest.approx(term["delta"])
        assert term["assignment_matches"] == term["assignment"]
        assert [term[part] for part in PARTS].count(0.0) == 5
    assert pair["explanation"]["causes"] == [{"link": "assignment", "detail": "assigner.min_iou 0.5 → 0.3"}]


def test_variants_are_each_compared_with_the_first(server: Server) -> None:
    """What a variant says is laid over what the body says."""
    variants = [
        {"name": "plain"},
        {"name": "half", "loss": {"box": {"weight": 0.5}}, "dtype": "float32"},
        {"name": "other", "preset": "ssd"},
    ]
    body = {**{k: REQUEST[k] for k in ("images", "classes", "preset")}, "variants": variants}
    answer = post(server, body | {"loss": {"box": {"beta": 2.0}}, "preset": "textbook"}).json()

    assert [(p["a"], p["b"]) for p in answer["pairs"]] == [("plain", "half"), ("plain", "other")]
    half = answer["variants"][1]
    assert half["resolved"]["dtype"] == "float32"
    assert (half["terms"]["box"]["weight"], half["resolved"]["loss"]["box"]["beta"]) == (0.5, 2.0)
    for pair in answer["pairs"]:
        for name, term in pair["explanation"]["terms"].items():
            values = [
                next(v["terms"][name]["value"] for v in answer["variants"] if v["name"] == pair[side])
                for side in "ab"
            ]
            assert sum(term[p] for p in PARTS) == pytest.approx(values[1] - values[0], abs=1e-9 * 54)


@pytest.mark.parametrize("kept", ["baseline", "response"])
def test_a_record_is_compared_but_not_explained(server: Server, kept: str) -> None:
    """Totals, terms and flips; no parts, and it says why."""
    response = post(server, REQUEST, "/v1/losses").json()
    record = response if kept == "response" else json.loads(dumps(snapshot("case", {}, response)))

    (pair,) = post(server, {"a": record, "b": LENIENT}).json()["pairs"]
    (same,) = post(server, {"a": REQUEST, "b": record}).json()["pairs"]

    assert [f["prediction"] for f in pair["flips"]] == ["B"]
    assert pair["terms"]["box"]["delta"] == pytest.approx(59.0)
    assert pair["explanation"] == {"unavailable": f"send the request: a {kept} does not hold its inputs"}
    assert same["flips"] == []
    assert same["total"]["delta"] == 0


def test_a_response_without_rows_has_no_flips(server: Server) -> None:
    """Its numbers are compared all the same."""
    response = post(server, {**REQUEST, "detail": "summary"}, "/v1/losses").json()

    (pair,) = post(server, {"a": response, "b": LENIENT}).json()["pairs"]

    assert (pair["flips"], "flips_unavailable" in pair) == ([], True)
    assert pair["terms"]["box"]["delta"] == pytest.approx(59.0)


def broken(*path: str | int, value: Any) -> Json:
    """A request with one element replaced."""
    request = deepcopy(REQUEST)
    place: Any = request
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return request


VARIANTS = {**{k: REQUEST[k] for k in ("images", "classes")}, "preset": "textbook"}
REFUSED: list[tuple[Any, set[str]]] = [
    ([], {""}),
    ({}, {"/a", "/b"}),
    ({"a": REQUEST}, {"/b"}),
    ({"a": 3, "b": REQUEST}, {"/a"}),
    (
        {"a": broken("images", 0, "ground_truth", 0, "box", value=[1]), "b": LENIENT},
        {"/a/images/0/ground_truth/0/box"},
    ),
    ({"a": REQUEST, "b": broken("assigner", value={"topk": -1})}, {"/b/assigner/topk"}),
    ({"a": REQUEST, "b": REQUEST, "c": 1}, {"/c"}),
    ({"a": REQUEST, "b": REQUEST, "tie_eps": 2}, {"/tie_eps"}),
    ({"a": REQUEST, "b": {"format": 99}}, {"/b/format"}),
    (
        {"a": REQUEST, "b": {"total": 1.0, "terms": {}, "counts": {}, "verdict": "ok", "resolved": {}}},
        {"/b/images"},
    ),
    ({**VARIANTS, "variants": []}, {"/variants"}),
    ({**VARIANTS, "variants": [{"name": "x"}]}, {"/variants"}),
    ({**VARIANTS, "variants": [{"name": "x"}, {"name": "x"}]}, {"/variants/1/name"}),
    ({**VARIANTS, "variants": [{"name": "x"}, 7]}, {"/variants/1"}),
    ({**VARIANTS, "variants": [{"name": "x"}, {"name": "y", "images": []}]}, {"/variants/1/images"}),
    ({**VARIANTS, "variants": [{"name": "x"}, {"name": "y", "preset": "nope"}]}, {"/variants/1/preset"}),
    ({**VARIANTS, "variants": [{"name": "x"}, {"name": "y", "dtype": "int8"}]}, {"/variants/1/dtype"}),
    ({**VARIANTS, "assigner": {"topk": 0}, "variants": [{"name": "x"}, {"name": "y"}]}, {"/assigner/topk"}),
    ({"variants": [{"name": "x"}, {"name": "y"}]}, {"/images"}),
]


@pytest.mark.parametrize(("body", "pointers"), REFUSED)
def test_what_cannot_be_compared_is_pointed_at(server: Server, body: Any, pointers: set[str]) -> None:
    """Each bad element of either side, by its place in the whole body."""
    problem = is_problem(post(server, body), 422, "invalid_request")

    assert {error["pointer"] for error in problem["errors"]} == pointers


@pytest.mark.parametrize(
    "record",
    [
        b'{"terms": 5}',
        b'{"format": {}}',
        b'{"format": 1}',
        b'{"verdict": "ok", "total": NaN, "counts": {"images": 1000000000000000000000000000000}}',
        b'{"total": 1, "terms": {"box": {}}, "counts": {}, "verdict": "ok", "resolved": {}, "images": [{}]}',
    ],
)
def test_a_damaged_record_is_refused(server: Server, record: bytes) -> None:
    """Whatever its fields hold: a problem that points into it, never a 500."""
    body = b'{"a": ' + record + b', "b": ' + json.dumps(REQUEST).encode() + b"}"

    answered = httpx.post(server.url + PATH, content=body, headers={"Content-Type": "application/json"})

    problem = is_problem(answered, 422, "invalid_request")
    assert all(error["pointer"].startswith("/a") for error in problem["errors"])


def test_the_example_is_a_request_of_the_article() -> None:
    """The example compares what the README shows."""
    assert EXAMPLE["images"] == REQUEST["images"]
