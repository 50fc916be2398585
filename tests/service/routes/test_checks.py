"""Checks over HTTP: verdicts, forms, the last ones, refusals that point into the body."""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest

from posneg.service.checks import config, run
from posneg.service.checks.report import as_junit, as_markdown
from posneg.service.schemas.checks import BASELINE_EXAMPLE, CHECK_EXAMPLE
from posneg.service.schemas.loss_request import EXAMPLE
from tests.conftest import Server
from tests.service.checks.test_check_run import answer
from tests.service.routes.asking import is_problem
from tests.service.routes.test_losses import within

Json = dict[str, Any]
LENIENT = {**EXAMPLE, "assigner": {"min_iou": 0.3}}


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    """A client of a service that keeps the article's baseline."""
    with httpx.Client(base_url=server.url + "/v1", timeout=60) as client:
        client.put("/baselines/article/textbook", json=BASELINE_EXAMPLE)
        yield client
        client.delete("/baselines/article/textbook")


def ask(client: httpx.Client, current: Json = EXAMPLE, headers: Any = None, **fields: Any) -> httpx.Response:
    """Check against the article's baseline, unless another one is given."""
    body = {"baseline": "article/textbook", "current": current, **fields}
    return client.post("/checks", json=body, headers=headers)


def found(response: httpx.Response) -> Json:
    """The body of a check that was done."""
    assert response.status_code == 200, response.text
    body: Json = response.json()
    return body


def test_the_documented_example_is_answered_as_documented(server: Server) -> None:
    """The contract's example request, sent for real, gives what the contract says."""
    operation = httpx.get(server.url + "/openapi.json").json()["paths"]["/v1/checks"]["post"]
    request = operation["requestBody"]["content"]["application/json"]["example"]
    documented = operation["responses"]["200"]["content"]["application/json"]["example"]

    answered = httpx.post(server.url + "/v1/checks", json=request, timeout=60)

    assert within(documented, found(answered))
    assert set(operation["responses"]["200"]["content"]) >= {"text/markdown", "application/xml"}


@pytest.mark.parametrize("detail", [{}, {"detail": "summary"}, {"gradients": True}])
def test_what_was_recorded_is_the_same(client: httpx.Client, detail: Json) -> None:
    """By name or in full, whatever the request would like to see of it."""
    for baseline in ("article/textbook", BASELINE_EXAMPLE):
        body = found(ask(client, {**EXAMPLE, **detail}, baseline=baseline))
        assert (body["verdict"], body["compared"]) == ("same", 1)
        assert body["cases"][0]["name"] == "article/textbook"
        assert not any(term["moved"] for term in body["cases"][0]["terms"])


def test_a_move_is_200_with_terms_flips_and_cause(client: httpx.Client) -> None:
    """A lower threshold takes one more prediction."""
    body = found(ask(client, LENIENT))

    (case,) = body["cases"]
    assert body["verdict"] == case["verdict"] == "moved"
    assert {term["name"] for term in case["terms"] if term["moved"]} == {"box", "classification"}
    for term in case["terms"]:
        assert term["delta"] == term["now"] - term["baseline"]
    assert [(flip["prediction"], flip["reason"]) for flip in case["flips"]] == [("B", "TOP_K")]
    assert case["explanation"]["causes"] == [{"link": "assignment", "detail": "assigner.min_iou 0.5 → 0.3"}]


def test_tolerance_forgives_its_own_term(client: httpx.Client) -> None:
    """By term, both ways; inputs may be others where that is said."""
    baseline = deepcopy(BASELINE_EXAMPLE)
    for number in ("value", "positive", "raw"):
        baseline["terms"]["box"][number] *= 1.01

    loose = {"terms": {"box": {"rtol": 0.02}}}
    assert found(ask(client, baseline=baseline))["verdict"] == "moved"
    assert found(ask(client, baseline=baseline, tolerance=loose))["verdict"] == "same"
    tight = {"terms": {"classification": {"rtol": 0.02}}}
    assert found(ask(client, baseline=baseline, tolerance=tight))["verdict"] == "moved"


def test_what_is_not_finite_equals_nothing(client: httpx.Client) -> None:
    """Not even what was recorded of the same input; the answer stays JSON."""
    broken = deepcopy(EXAMPLE)
    broken["images"][0]["predictions"][0]["score"] = float("nan")
    body = json.dumps({"baseline": BASELINE_EXAMPLE, "current": broken})

    answered = client.post("/checks", content=body, headers={"Content-Type": "application/json"})

    assert found(answered)["verdict"] == "moved"
    json.loads(answered.text, parse_constant=pytest.fail)


@pytest.mark.parametrize("written_as", [2, "1", None, 0, True])
def test_an_unknown_format_is_incompatible(client: httpx.Client, written_as: Any) -> None:
    """A verdict, not a failure, and nothing was compared."""
    body = found(ask(client, baseline={**BASELINE_EXAMPLE, "format": written_as}))

    assert (body["verdict"], body["compared"]) == ("incompatible", 0)
    assert body["cases"][0]["verdict"] == "incompatible"
    assert body["cases"][0]["problem"]["code"] == "baseline_incompatible"


def test_an_unknown_name_is_404(client: httpx.Client) -> None:
    """There is nothing to compare with."""
    is_problem(ask(client, baseline="article/other"), 404, "baseline_missing")


REFUSED: dict[str, Json] = {
    "/baseline": {"baseline": None},
    "/baseline/format": {"baseline": {}},
    "/baseline/terms/box/value": {
        "baseline": {**BASELINE_EXAMPLE, "terms": {"box": {**BASELINE_EXAMPLE["terms"]["box"], "value": "x"}}}
    },
    "/current": {"current": None},
    "/current/images": {"current": {"preset": "textbook"}},
    "/current/assigner/topk": {"current": {**EXAMPLE, "assigner": {"topk": -1}}},
    "/current/preset": {"current": {**EXAMPLE, "preset": "yolov88"}},
    "/tolerance/flips/maximum": {"tolerance": {"flips": {"maximum": 1}}},
    "/tolerance/default/rtol": {"tolerance": {"default": {"rtol": -1}}},
    "/tolerance/terms/boxes": {"tolerance": {"terms": {"boxes": {"rtol": 1}}}},
    "/tolerance": {"tolerance": [1]},
    "/tolerances": {"tolerances": {}},
}


@pytest.mark.parametrize("pointer", REFUSED)
def test_what_cannot_be_used_is_pointed_at(client: httpx.Client, pointer: str) -> None:
    """Baseline, request and tolerance, each by a pointer into the body."""
    body = is_problem(ask(client, **REFUSED[pointer]), 422, "invalid_request")
    assert pointer in [error["pointer"] for error in body["errors"]]


def test_all_faults_are_told_at_once(client: httpx.Client) -> None:
    """Those of every part."""
    body = is_problem(ask(client, {"images": 1}, baseline=3, tolerance={"x": 1}, y=1), 422, "invalid_request")
    assert {error["pointer"] for error in body["errors"]} == {
        "/y",
        "/baseline",
        "/current/images",
        "/tolerance/x",
    }


@pytest.fixture
def same_case(tmp_path: Path) -> Callable[[], run.Report]:
    """The article's case, checked without a service against the article's baseline."""
    (tmp_path / "request.json").write_text(json.dumps(LENIENT))
    (tmp_path / "posneg.yaml").write_text("cases: [{name: article/textbook, request: request.json}]")
    (tmp_path / "baselines" / "article").mkdir(parents=True)
    (tmp_path / "baselines" / "article" / "textbook.json").write_text(json.dumps(BASELINE_EXAMPLE))
    return lambda: run.check(config.load(tmp_path / "posneg.yaml"), answer)


@pytest.mark.parametrize(("kind", "write"), [("text/markdown", as_markdown), ("application/xml", as_junit)])
def test_forms_are_those_of_the_command(
    client: httpx.Client, same_case: Callable[[], run.Report], kind: str, write: Callable[[Any], str]
) -> None:
    """Byte for byte what `posneg check --report` writes, when it is asked and when it is read again."""
    answered = ask(client, LENIENT, {"Accept": f"{kind}, application/json;q=0.5"})

    assert answered.headers["content-type"].partition(";")[0] == kind
    assert answered.headers["vary"] == "Accept"
    assert answered.text == write(same_case())
    newest = client.get("/checks", params={"limit": 1}).json()["data"][0]["id"]
    assert client.get(f"/checks/{newest}", headers={"Accept": kind}).text == answered.text


def test_junit_counts_what_failed(client: httpx.Client) -> None:
    """A test for the verdict and one for each term."""
    root = ElementTree.fromstring(ask(client, LENIENT, {"Accept": "application/xml"}).text)

    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("3", "3", "0")
    assert [test.get("name") for test in root.iter("testcase")] == ["verdict", "box", "classification"]


def test_the_last_ones_are_listed_newest_first(client: httpx.Client) -> None:
    """In short, in pages that stay where they are; each can be read in full."""
    made = [found(ask(client, current)) for current in (EXAMPLE, LENIENT, EXAMPLE)]

    first = client.get("/checks", params={"limit": 2}).json()
    ask(client)
    second = client.get("/checks", params={"limit": 1, "after": first["next"]}).json()

    listed = first["data"] + second["data"]
    assert [row["id"] for row in listed] == [body["id"] for body in reversed(made)]
    assert [row["verdict"] for row in listed] == ["same", "moved", "same"]
    assert all(row["baseline"] == "article/textbook" and "cases" not in row for row in listed)
    assert client.get(f"/checks/{made[1]['id']}").json() == made[1]


def test_no_such_check_or_page(client: httpx.Client) -> None:
    """404 and 422."""
    is_problem(client.get("/checks/x"), 404, "not_found")
    is_problem(client.get("/checks", params={"after": "x"}), 422, "invalid_request")


def test_the_same_key_checks_once(client: httpx.Client) -> None:
    """The answer is stored, in whatever form it is asked for again; another body is refused."""
    key = {"Idempotency-Key": "check-once"}
    first = found(ask(client, LENIENT, key))

    again = ask(client, LENIENT, key)
    assert (again.json(), again.headers["idempotent-replayed"]) == (first, "true")
    assert ask(client, LENIENT, {**key, "Accept": "text/markdown"}).text.startswith("# posneg check: moved")
    is_problem(ask(client, EXAMPLE, key), 422, "invalid_request")


def test_other_content_is_refused(client: httpx.Client) -> None:
    """No JSON, another content type."""
    is_problem(client.post("/checks", content="{"), 422, "invalid_json")
    sent = client.post("/checks", content=json.dumps(CHECK_EXAMPLE), headers={"Content-Type": "text/csv"})
    is_problem(sent, 415, "unsupported_media_type")
