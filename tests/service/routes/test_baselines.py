"""Baselines over HTTP: kept as they were recorded, conditional requests, pages, refusals that point."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from posneg.service.checks.baseline import dumps
from tests.conftest import Server
from tests.service.checks.runs import put as edited
from tests.service.checks.runs import run
from tests.service.routes.asking import is_problem

FILE = dumps(run())
OTHER = dumps(run(edited("terms.box.value", 55.0)))


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    """A client of a service whose baselines are nobody else's."""
    with httpx.Client(base_url=server.url + "/v1", timeout=30) as client:
        yield client


@pytest.fixture(autouse=True)
def _leave_as_it_was(client: httpx.Client) -> Iterator[None]:
    yield
    for row in client.get("/baselines", params={"limit": 1000}).json()["data"]:
        client.delete(f"/baselines/{row['name']}")


def put(client: httpx.Client, name: str, text: str = FILE, **headers: str) -> httpx.Response:
    return client.put(
        f"/baselines/{name}", content=text.encode(), headers={"Content-Type": "application/json", **headers}
    )


def test_what_was_recorded_comes_back_byte_for_byte(client: httpx.Client) -> None:
    """201 with its address, then the file as it was; 200 once the name is taken."""
    created = put(client, "street/yolov8")

    assert created.status_code == 201
    assert created.headers["location"] == "/v1/baselines/street/yolov8"
    assert created.json()["terms"] == {"box": 54.0, "classification": 0.685179}
    read = client.get("/baselines/street/yolov8")
    assert read.text == FILE
    assert read.headers["etag"] == created.headers["etag"]
    again = put(client, "street/yolov8")
    assert (again.status_code, again.headers["etag"]) == (200, created.headers["etag"])
    assert put(client, "street/yolov8", OTHER).headers["etag"] != created.headers["etag"]
    assert client.get("/baselines/street/yolov8").text == OTHER


def test_layout_of_the_text_is_no_other_version(client: httpx.Client) -> None:
    """The tag is of what is kept, not of the spaces that were sent."""
    tag = put(client, "a").headers["etag"]

    assert put(client, "a", json.dumps(json.loads(FILE), indent=4)).headers["etag"] == tag


def test_conditional_requests(client: httpx.Client) -> None:
    """304 for who has it; 412 for a change to another version, or to nothing."""
    assert is_problem(put(client, "a", **{"If-Match": '"x"'}), 412, "precondition_failed")
    tag = put(client, "a").headers["etag"]

    unchanged = client.get("/baselines/a", headers={"If-None-Match": tag})
    assert (unchanged.status_code, unchanged.content, unchanged.headers["etag"]) == (304, b"", tag)
    assert put(client, "a", OTHER, **{"If-Match": tag}).status_code == 200
    is_problem(put(client, "a", FILE, **{"If-Match": tag}), 412, "precondition_failed")
    is_problem(client.delete("/baselines/a", headers={"If-Match": tag}), 412, "precondition_failed")
    assert client.get("/baselines/a").text == OTHER


def test_deleted_is_gone(client: httpx.Client) -> None:
    """204, then 404 for whoever asks again."""
    put(client, "a/b")

    assert client.delete("/baselines/a/b").status_code == 204
    is_problem(client.delete("/baselines/a/b"), 404, "baseline_missing")
    is_problem(client.get("/baselines/a/b"), 404, "baseline_missing")


def test_pages_go_by_name(client: httpx.Client) -> None:
    """Each once, in order, although one is inserted between two pages."""
    for name in ("c", "a/x", "b"):
        put(client, name)

    first = client.get("/baselines", params={"limit": 2}).json()
    put(client, "a/a")
    second = client.get("/baselines", params={"limit": 2, "after": first["next"]}).json()

    assert [row["name"] for row in first["data"] + second["data"]] == ["a/x", "b", "c"]
    assert (first["has_more"], second["has_more"], second["next"]) == (True, False, None)
    assert "document" not in first["data"][0]


@pytest.mark.parametrize("name", ["A", "a//b", "-a", "a/", "a b", "a" * 129, "a/.b"])
def test_bad_names_are_refused(client: httpx.Client, name: str) -> None:
    """A name that no `posneg.yaml` could have."""
    body = is_problem(put(client, name), 422, "invalid_request")
    assert body["errors"][0]["pointer"] == "/path/name"


@pytest.mark.parametrize("name", ["a" * 128, "0", "a.b_c-d/e/f"])
def test_good_names_are_taken(client: httpx.Client, name: str) -> None:
    """The longest, the shortest, and every sign that is allowed."""
    assert put(client, name).status_code == 201


def test_an_unknown_format_is_not_kept(client: httpx.Client) -> None:
    """No check could read it."""
    body = is_problem(put(client, "a", FILE.replace('"format": 1', '"format": 2')), 422, "invalid_request")
    assert [(e["pointer"], e["code"]) for e in body["errors"]] == [("/format", "incompatible_baseline")]


DAMAGE: dict[str, Callable[[Any], Any]] = {
    "": lambda file: [file],
    "/format": lambda file: {k: v for k, v in file.items() if k != "format"},
    "/counts": lambda file: {k: v for k, v in file.items() if k != "counts"},
    "/terms/box/value": lambda file: {**file, "terms": {"box": {**file["terms"]["box"], "value": "54"}}},
    "/terms/box/normalizer": lambda file: {
        **file,
        "terms": {"box": {**file["terms"]["box"], "normalizer": None}},
    },
    "/resolved/semantics": lambda file: {**file, "resolved": {"semantics": [1]}},
    "/positive/0/3": lambda file: {**file, "positive": [["street-1", "A", "GT1", "1", 0.1, "TOP_K", 0, 0]]},
}


@pytest.mark.parametrize("pointer", DAMAGE)
def test_damage_is_pointed_at(client: httpx.Client, pointer: str) -> None:
    """Every part that a check reads is there, in its type."""
    damaged = json.dumps(DAMAGE[pointer](json.loads(FILE)))

    body = is_problem(put(client, "a", damaged), 422, "invalid_request")
    assert pointer in [error["pointer"] for error in body["errors"]]


def test_other_damage_is_a_problem_too(client: httpx.Client) -> None:
    """NaN, depth, no JSON, another content type."""
    is_problem(put(client, "a", FILE.replace("55.0", "NaN").replace("54.0", "NaN")), 422, "invalid_request")
    deep = "[" * 600 + "]" * 600
    is_problem(
        put(client, "a", FILE.replace('"preset": "textbook"', f'"preset": {deep}')), 422, "invalid_request"
    )
    is_problem(put(client, "a", "{"), 422, "invalid_json")
    refused = client.put("/baselines/a", content=FILE, headers={"Content-Type": "text/csv"})
    is_problem(refused, 415, "unsupported_media_type")
    assert client.get("/baselines").json()["data"] == []
