"""What tests of models share: images as files, requests for detections, problems."""

import io

import numpy as np
from PIL import Image

BRIGHT = np.full((128, 192, 3), 255, np.uint8)
FOUND = [[24, 32, 56, 48], [24, 32, 56, 48], [110, 60, 130, 100], [150, 90, 192, 128]]
"""Boxes that the test detector finds in the bright image."""


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
