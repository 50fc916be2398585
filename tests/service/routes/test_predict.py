"""Detections over HTTP: an image however it is sent, and every misuse explained."""

import base64
import json

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.service import onnx_models
from tests.service.routes.asking import BRIGHT, FOUND, encoded, is_problem, predict


@pytest.fixture(scope="module")
def client(server):
    """A caller of a real service."""
    with httpx.Client(base_url=server.url, timeout=60) as made:
        yield made


@pytest.fixture(scope="module")
def detector(client, tmp_path_factory):
    """A detector that is kept."""
    file = onnx_models.detector(tmp_path_factory.mktemp("files") / "detector.onnx")
    query = {"labels": "red,green"}
    client.put("/v1/models/detector", content=file.read_bytes(), params=query).raise_for_status()
    yield "detector"
    client.delete("/v1/models/detector")


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
