"""Models over HTTP: kept, described, downloaded, deleted, and every misuse explained."""

import itertools

import httpx
import numpy as np
import pytest
from onnx import TensorProto

from posneg.service.schemas.models import MODEL_EXAMPLE, PREDICTION_EXAMPLE, VERSION_EXAMPLE
from tests.service import onnx_models
from tests.service.routes.asking import BRIGHT, FOUND, encoded, is_problem, predict

NUMBER = itertools.count()


@pytest.fixture(scope="module")
def client(server):
    """A caller of a real service."""
    with httpx.Client(base_url=server.url, timeout=60) as made:
        yield made


@pytest.fixture
def name(client):
    """A model name of the test's own, free again afterwards."""
    made = f"model-{next(NUMBER)}"
    yield made
    client.delete(f"/v1/models/{made}")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A detector, and the same with boxes four pixels further right."""
    folder = tmp_path_factory.mktemp("files")
    shifted = onnx_models.ROWS + np.float32([4, 0, 0, 0, 0, 0])
    return [
        onnx_models.detector(folder / "a.onnx").read_bytes(),
        onnx_models.detector(folder / "b.onnx", rows=shifted).read_bytes(),
    ]


@pytest.fixture(scope="module")
def detector(client, files):
    """A detector that is kept, for tests that only use it."""
    client.put("/v1/models/detector", content=files[0], params={"labels": "red,green"}).raise_for_status()
    yield "detector"
    client.delete("/v1/models/detector")


def test_a_file_becomes_a_version_and_the_same_bytes_stay_one(client, name, files):
    """201 and where it lies; 200 for the same again; the next one is the next version."""
    first = client.put(f"/v1/models/{name}", content=files[0], params={"labels": "red,green"})
    again = client.put(f"/v1/models/{name}", content=files[0])
    second = client.put(f"/v1/models/{name}", content=files[1])

    assert (first.status_code, again.status_code, second.status_code) == (201, 200, 201)
    assert first.headers["location"] == again.headers["location"] == f"/v1/models/{name}/versions/1"
    assert second.headers["location"] == f"/v1/models/{name}/versions/2"
    body = client.get(first.headers["location"]).json()
    assert body == first.json()
    assert (body["layout"], body["labels"], body["input_size"]) == ("yolov8", ["red", "green"], [64, 96])
    model = client.get(f"/v1/models/{name}").json()
    assert [version["version"] for version in model["versions"]] == [2, 1]
    assert model["inputs"] == [{"name": "images", "datatype": "FP32", "shape": [-1, 3, 64, 96]}]
    assert {"outputs", "parity", "job", "dataset", "metrics"} <= model.keys()


def test_a_file_comes_back_as_it_was_sent(client, name, files):
    """Bytes, name, ranges, and 304 for whoever has it."""
    client.put(f"/v1/models/{name}", content=files[0])
    address = f"/v1/models/{name}/versions/1/files/model.onnx"

    answer = client.get(address)
    part = client.get(address, headers={"Range": "bytes=0-9"})
    known = client.get(address, headers={"If-None-Match": answer.headers["etag"]})

    assert answer.content == files[0]
    assert f"{name}-1.onnx" in answer.headers["content-disposition"]
    assert (part.status_code, part.content) == (206, files[0][:10])
    assert (known.status_code, known.content) == (304, b"")


def test_tags_change_with_what_they_stand_for(client, name, files):
    """A strong tag of the model and of each version; a stale one does not overwrite or delete."""
    client.put(f"/v1/models/{name}", content=files[0])
    model, version = f"/v1/models/{name}", f"/v1/models/{name}/versions/1"
    before, of_version = client.get(model).headers["etag"], client.get(version).headers["etag"]

    assert client.get(model, headers={"If-None-Match": before}).status_code == 304
    assert client.get(version, headers={"If-None-Match": of_version}).status_code == 304
    client.put(model, content=files[1], headers={"If-Match": before}).raise_for_status()
    assert client.get(model).headers["etag"] != before
    assert client.get(version).headers["etag"] == of_version
    is_problem(client.put(model, content=files[0], headers={"If-Match": before}), 412, "precondition_failed")
    is_problem(client.delete(model, headers={"If-Match": before}), 412, "precondition_failed")
    assert client.delete(model, headers={"If-Match": client.get(model).headers["etag"]}).status_code == 204
    is_problem(client.get(model), 404, "not_found")


def test_models_are_listed_in_pages(client, files):
    """By name, each with its newest version, whatever is inserted meanwhile."""
    names = [f"page-{letter}" for letter in "abc"]
    for each in names:
        client.put(f"/v1/models/{each}", content=files[0]).raise_for_status()

    first = client.get("/v1/models", params={"limit": 2, "after": "page-"}).json()
    client.put("/v1/models/page-aa", content=files[0]).raise_for_status()
    second = client.get("/v1/models", params={"limit": 2, "after": first["next"]}).json()

    assert [model["name"] for model in first["data"]] == names[:2]
    assert first["has_more"] is True
    assert second["data"][0]["name"] == names[2]
    assert first["data"][0]["versions"][0]["version"] == 1
    for each in [*names, "page-aa"]:
        assert client.delete(f"/v1/models/{each}").status_code == 204


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "not_onnx"),
        (b"not a model", "not_onnx"),
        (encoded(BRIGHT), "not_onnx"),
        (b"\x08\x0a", "not_onnx"),
    ],
)
def test_an_onnx_that_is_none_is_refused(client, name, content, code):
    """Nothing is kept of it, and the service goes on."""
    answer = client.put(f"/v1/models/{name}", content=content)

    assert is_problem(answer, 422, "invalid_request")["errors"][0]["code"] == code
    is_problem(client.get(f"/v1/models/{name}"), 404, "not_found")


def test_what_the_query_says_must_fit(client, name, files):
    """Each parameter is pointed at."""
    for query, pointer in (
        ({"labels": "a,b,c"}, "/query/labels"),
        ({"layout": "unheard-of"}, "/query/layout"),
        ({"layout": "detr"}, "/query/layout"),
        ({"input_size": "32"}, "/query/input_size"),
        ({"input_size": "huge"}, "/query/input_size"),
    ):
        answer = client.put(f"/v1/models/{name}", content=files[0], params=query)
        assert is_problem(answer, 422, "invalid_request")["errors"][0]["pointer"] == pointer


def test_names_and_forms_that_cannot_be_are_refused(client, files):
    """A name that is no folder; a file inside a form, or compressed."""
    is_problem(client.put("/v1/models/.hidden", content=files[0]), 422, "invalid_request")
    for headers in ({"Content-Type": "multipart/form-data; boundary=x"}, {"Content-Encoding": "gzip"}):
        answer = client.put("/v1/models/fine", content=files[0], headers=headers)
        is_problem(answer, 415, "unsupported_media_type")


def test_a_body_above_the_limit_is_refused(start_server, files):
    """413, at once or while it comes, and nothing is left of it."""
    small = start_server(max_upload_mib=1)
    with httpx.Client(base_url=small.url, timeout=60) as client:
        is_problem(client.put("/v1/models/m", content=bytes(2**20 + 1)), 413, "too_large")
        pieces = (bytes(2**16) for _ in range(17))
        is_problem(client.put("/v1/models/m", content=pieces), 413, "too_large")
        assert client.put("/v1/models/m", content=files[0]).status_code == 201
    assert not list(small.data.glob(".upload-*"))


def test_models_and_versions_that_are_not_there(client, detector):
    """404 everywhere, also for names that could not be."""
    for address in ("nothing", "nothing/versions/1", "detector/versions/9", "detector/versions/0", "..%2f"):
        assert client.get(f"/v1/models/{address}").status_code == 404
    is_problem(client.get("/v1/models/detector/versions/9/files/model.onnx"), 404, "not_found")
    is_problem(client.delete("/v1/models/nothing"), 404, "not_found")
    is_problem(predict(client, encoded(BRIGHT), model="nothing"), 404, "not_found")
    is_problem(predict(client, encoded(BRIGHT), params={"version": 9}), 404, "not_found")


def test_a_model_of_tensors_gives_no_detections(client, name, tmp_path):
    """409: the model is there, and is none for images."""
    file = onnx_models.identity(tmp_path / "identity.onnx", TensorProto.FLOAT)
    client.put(f"/v1/models/{name}", content=file.read_bytes()).raise_for_status()

    problem = is_problem(predict(client, encoded(BRIGHT), model=name), 409, "conflict")

    assert "/v2" in problem["detail"]


def test_models_outlive_a_restart(start_server, tmp_path, files):
    """What was kept is served by the next process over the same folder."""
    folder = tmp_path / "data"
    first = start_server(data=folder)
    httpx.put(f"{first.url}/v1/models/kept", content=files[0], timeout=60).raise_for_status()
    first.stop()

    second = start_server(data=folder)
    answer = httpx.post(
        f"{second.url}/v1/models/kept/predict",
        content=encoded(BRIGHT),
        headers={"Content-Type": "image/png"},
        timeout=60,
    )

    assert [found["box"] for found in answer.json()["images"][0]["detections"]] == FOUND


def test_the_contract_shows_what_is_answered(client, detector):
    """The documented examples have exactly the keys of real answers."""
    version = client.get("/v1/models/detector/versions/1").json()
    model = client.get("/v1/models/detector").json()
    prediction = client.post("/v1/models/detector/predict", files=[("i", ("a.png", encoded(BRIGHT)))]).json()

    for example, real in (
        (VERSION_EXAMPLE, version),
        (MODEL_EXAMPLE, model),
        (MODEL_EXAMPLE["versions"][0], model["versions"][0]),
        (PREDICTION_EXAMPLE, prediction),
        (PREDICTION_EXAMPLE["images"][0], prediction["images"][0]),
        (PREDICTION_EXAMPLE["images"][0]["detections"][0], prediction["images"][0]["detections"][0]),
        (PREDICTION_EXAMPLE["timing"], prediction["timing"]),
    ):
        assert example.keys() == real.keys()
