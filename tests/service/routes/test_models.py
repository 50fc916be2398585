"""Models over HTTP: kept, described, downloaded, used on images, and every misuse explained."""

import base64
import io
import itertools
import json

import httpx
import numpy as np
import pytest
from onnx import TensorProto
from PIL import Image

from posneg.service.schemas.models import MODEL_EXAMPLE, PREDICTION_EXAMPLE, VERSION_EXAMPLE
from tests.service import onnx_models

NUMBER = itertools.count()
BRIGHT = np.full((128, 192, 3), 255, np.uint8)
FOUND = [[24, 32, 56, 48], [24, 32, 56, 48], [110, 60, 130, 100], [150, 90, 192, 128]]


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


def encoded(pixels, kind="png", **options):
    """The pixels as a file."""
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, kind, **options)
    return data.getvalue()


def predict(client, content, kind="image/png", model="detector", **options):
    """Ask for detections."""
    headers = {"Content-Type": kind, **options.pop("headers", {})}
    return client.post(f"/v1/models/{model}/predict", content=content, headers=headers, **options)


def is_problem(answer, status, code):
    """The body, once it is known to be a problem of this kind."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["code"] == code
    return body


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


@pytest.mark.parametrize(
    ("kind", "sent"), [("png", "image/png"), ("jpeg", "image/jpeg"), ("webp", "image/webp")]
)
def test_an_image_is_answered_in_its_own_pixels(client, detector, kind, sent):
    """The body is the image; boxes are scaled back and clipped to it."""
    answer = predict(client, encoded(BRIGHT, kind), sent)

    body = answer.json()
    (image,) = body["images"]
    assert image["size"] == [128, 192]
    assert [found["box"] for found in image["detections"]] == FOUND
    assert [(found["label"], found["class_id"]) for found in image["detections"]][:2] == [
        ("red", 0),
        ("green", 1),
    ]
    assert image["detections"][0]["score"] == pytest.approx(1, abs=0.01)
    assert (body["model"], body["version"]) == ("detector", 1)
    assert body["timing"]["total_ms"] > 0


def test_thresholds_choose(client, detector):
    """By score, and by the overlap from which of two boxes one is enough."""

    def number(**query):
        return len(predict(client, encoded(BRIGHT), params=query).json()["images"][0]["detections"])

    assert number(score=0.6) == 3
    assert number(score=0.95) == 1
    assert number(iou=0.99) == 5
    assert number(score=0.75, iou=0) == 2
    for query in ({"score": 2}, {"iou": -1}, {"score": "much"}, {"version": 0}):
        is_problem(predict(client, encoded(BRIGHT), params=query), 422, "invalid_request")


def test_an_upright_image_is_what_exif_says(client, detector):
    """A picture that lies on its side is turned first; its size is the upright one."""
    tagged = Image.Exif()
    tagged[0x0112] = 6
    answer = predict(client, encoded(BRIGHT, "jpeg", exif=tagged), "image/jpeg")

    assert answer.json()["images"][0]["size"] == [192, 128]


def test_a_form_takes_several_images(client, detector):
    """In their order, by their names."""
    files = [
        ("image", ("b.png", encoded(BRIGHT))),
        ("image", ("a.jpg", encoded(BRIGHT[:64], "jpeg"))),
    ]

    body = client.post("/v1/models/detector/predict", files=files).json()

    assert [(image["id"], image["size"]) for image in body["images"]] == [
        ("b.png", [128, 192]),
        ("a.jpg", [64, 192]),
    ]


def test_json_takes_base64(client, detector):
    """Bare, as a data URI, with line breaks, as an object with an id."""
    text = base64.b64encode(encoded(BRIGHT)).decode()
    images = [text, f"data:image/png;base64,{text}", text[:40] + "\n" + text[40:], {"id": 7, "data": text}]

    answer = predict(client, json.dumps({"images": images}), "application/json")

    body = answer.json()
    assert [[f["box"] for f in image["detections"]] for image in body["images"]] == [FOUND] * 4
    assert [image.get("id") for image in body["images"]] == [None, None, None, 7]


def test_coco_results_are_given_to_whoever_accepts_them(client, detector):
    """xywh, categories from 1, image ids from the ids sent, else file names, else positions."""
    headers = {"Accept": "application/vnd.coco+json"}
    files = [("i", ("000000000139.jpg", encoded(BRIGHT))), ("i", ("street.png", encoded(BRIGHT)))]

    answer = client.post("/v1/models/detector/predict", files=files, headers=headers)
    plain = predict(client, encoded(BRIGHT), headers=headers).json()

    assert answer.headers["content-type"] == "application/vnd.coco+json"
    rows = answer.json()
    assert {row["image_id"] for row in rows} == {139, "street"}
    assert {row["image_id"] for row in plain} == {0}
    assert [row["category_id"] for row in plain] == [1, 2, 1, 1]
    assert plain[0]["bbox"] == [24, 32, 32, 16]


def broken_images():
    """What is no image, and why."""
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    jpeg, png = encoded(noise, "jpeg"), encoded(noise)
    huge = bytearray(encoded(np.zeros((8, 8, 3), np.uint8)))
    huge[16:24] = (60_000).to_bytes(4, "big") * 2  # width and height in the header
    return {
        "empty": b"",
        "text": b"not an image",
        "truncated jpeg": jpeg[: len(jpeg) // 2],
        "header alone": jpeg[:20],
        "truncated png": png[: len(png) // 2],
        "bomb": bytes(huge),
        "gif": b"GIF89a" + bytes(100),
    }


@pytest.mark.parametrize("kind", sorted(broken_images()))
def test_an_image_that_is_none_is_a_problem(client, detector, kind):
    """Whether it is the body, a part of a form or base64: 422, pointing at the part; the service goes on."""
    bad, good = broken_images()[kind], encoded(BRIGHT)

    alone = is_problem(predict(client, bad, "image/jpeg"), 422, "invalid_request")
    form = client.post(
        "/v1/models/detector/predict", files=[("a", ("good.png", good)), ("b", ("bad.jpg", bad))]
    )
    texts = [base64.b64encode(content).decode() for content in (good, bad)]
    coded = predict(client, json.dumps({"images": texts}), "application/json")

    assert alone["errors"][0]["pointer"] == ""
    (fault,) = is_problem(form, 422, "invalid_request")["errors"]
    assert fault["pointer"] == "/images/1"
    assert fault["detail"].startswith("bad.jpg: ")
    assert is_problem(coded, 422, "invalid_request")["errors"][0]["pointer"] == "/images/1/data"
    assert predict(client, good).status_code == 200


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ("{", ""),
        ("[]", "/images"),
        ("{}", "/images"),
        ('{"images": []}', "/images"),
        ('{"images": [3]}', "/images/0"),
        ('{"images": [{}]}', "/images/0/data"),
        ('{"images": [{"data": 3}]}', "/images/0/data"),
        ('{"images": ["%%%"]}', "/images/0/data"),
        ('{"images": ["data:image/png,abc"]}', "/images/0/data"),
        ('{"images": [{"id": [], "data": ""}]}', "/images/0/id"),
        (json.dumps({"images": [""] * 257}), "/images"),
    ],
)
def test_json_that_holds_no_images_is_a_problem(client, detector, body, pointer):
    """Pointing at what is missing or wrong."""
    problem = is_problem(predict(client, body, "application/json"), 422, "invalid_request")

    assert problem["errors"][0]["pointer"] == pointer


def test_forms_without_files_are_a_problem(client, detector):
    """A field that is no file, no part at all, and a body that is no form."""
    address = "/v1/models/detector/predict"
    field = client.post(address, files=[("image", (None, "text"))])
    broken = predict(client, b"nonsense", "multipart/form-data; boundary=x")
    nothing = predict(client, b"--x--\r\n", "multipart/form-data; boundary=x")

    assert "filename" in is_problem(field, 422, "invalid_request")["errors"][0]["detail"]
    assert broken.status_code in (400, 422)
    assert broken.headers["content-type"] == "application/problem+json"
    is_problem(nothing, 422, "invalid_request")


def test_other_content_is_refused(client, detector):
    """The kinds that are read are named."""
    for kind in ("text/plain", "image/gif", "application/x-www-form-urlencoded", "application/octet-stream"):
        problem = is_problem(predict(client, encoded(BRIGHT), kind), 415, "unsupported_media_type")
        assert "image/png" in problem["detail"]


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
