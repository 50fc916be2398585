"""From training's side to serving's: an exported file is served as it describes itself."""

import asyncio
import io

import numpy as np
import onnxruntime
import torch
from PIL import Image as Pillow

from posneg.models.detections import non_maximum_suppression
from posneg.models.export.onnx import export
from posneg.models.export.parity import parity
from posneg.models.imaging import letterbox
from posneg.service.serving.inspection import inspect
from posneg.service.serving.models import Image, ServedModels
from posneg.service.serving.wishes import Wishes
from posneg.service.settings import Settings
from tests.models.export.tiny import TinyDetector

LABELS = ["red", "grün", "blue"]


def test_served_detections_are_those_of_the_file_to_the_bit(tmp_path):
    """Nothing is said to the service: layout, labels, size and scaling are the file's own."""
    torch.manual_seed(0)
    detector, file = TinyDetector(), tmp_path / "export.onnx"
    export(detector, labels=LABELS, input_size=(64, 96), file=file)
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (h, w, 3), np.uint8) for h, w in ((64, 96), (50, 40), (200, 333))]
    assert parity(detector, file, images).ok

    async def main():
        served = ServedModels(Settings(data=tmp_path))
        await served.publish("tiny", file, Wishes())
        answer = await served.predict("tiny", None, list(map(sent, images)), score=0.3, iou=0.7)
        await served.close()
        return answer

    answer = asyncio.run(main())

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    for image, found in zip(images, answer.images, strict=True):
        boxed, placement = letterbox(image, (64, 96))
        scaled = (boxed.transpose(2, 0, 1)[None] / np.float32(255)).astype(np.float32)
        ((columns,),) = session.run(None, {"images": scaled})
        center, size = columns[:2].T, columns[2:4].T
        boxes = np.concatenate([center - size / 2, center + size / 2], 1)
        expected = non_maximum_suppression(boxes, columns[4:].T, score_threshold=0.3, iou_threshold=0.7)

        assert len(expected) > 0
        np.testing.assert_array_equal(found.detections.boxes, placement.to_image(expected.boxes))
        np.testing.assert_array_equal(found.detections.scores, expected.scores)
        np.testing.assert_array_equal(found.detections.labels, expected.labels)
    assert answer.detector.labels == tuple(LABELS)


def sent(pixels):
    """An image as a lossless file."""
    data = io.BytesIO()
    Pillow.fromarray(pixels).save(data, "png")
    return Image(data.getvalue(), "")


def test_both_sides_mean_the_same_preprocessing(tmp_path):
    """What export writes down is what serving reads and does."""
    file = tmp_path / "export.onnx"
    export(TinyDetector(), labels=LABELS, input_size=(64, 96), file=file)

    found = inspect(file, Wishes())

    assert (found["layout"], found["labels"], found["input_size"]) == ("yolov8", LABELS, [64, 96])
    assert found["batchable"] is True
    assert found["preprocessing"] == {
        "color": "RGB",
        "scale": 1 / 255,
        "letterbox": "center",
        "fill": 114,
        "resample": "bilinear",
    }
    assert found["warnings"] == []
