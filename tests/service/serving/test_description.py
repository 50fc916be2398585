"""What is found out about a file: input, size, labels, layout, and what its owner may overrule."""

import json

import numpy as np
import pytest

from posneg.service.serving.description import (
    DescriptionError,
    Sample,
    describe,
    input_size_of,
    labels_of,
)
from posneg.service.serving.inputs import image_input, tensor_of, zeros
from posneg.service.serving.wishes import Wishes


def tensor(shape, name="images", datatype="FP32"):
    """One tensor as the protocol describes it."""
    return {"name": name, "datatype": datatype, "shape": shape}


def sample(*shapes):
    """A sample of outputs that are all zero."""
    return Sample(
        outputs={f"o{i}": np.zeros(shape, np.float32) for i, shape in enumerate(shapes)},
        input_size=(640, 640),
    )


@pytest.mark.parametrize(
    ("shape", "channels_last", "size"),
    [
        ([-1, 3, 64, 96], False, (64, 96)),
        ([1, 3, -1, -1], False, None),
        ([-1, 64, 96, 3], True, (64, 96)),
        ([-1, -1, -1, 3], True, None),
    ],
)
def test_an_image_input_is_known_by_its_three_channels(shape, channels_last, size):
    """First or last."""
    found = image_input([tensor(shape)])

    assert found is not None
    assert (found.channels_last, found.size) == (channels_last, size)


@pytest.mark.parametrize(
    "tensors",
    [
        [],
        [tensor([-1, 16])],
        [tensor([-1, 1, 28, 28])],
        [tensor([-1, 3, 64, 64], datatype="INT32")],
        [tensor([-1, 3, 64, 64], "a"), tensor([-1, 3, 64, 64], "b")],
    ],
)
def test_other_inputs_take_no_images(tensors):
    """Rows, grey images, integers, two images: none is guessed at."""
    assert image_input(tensors) is None


def test_the_size_is_the_graphs_or_asked_for_or_written_or_usual():
    """In this order."""
    free, fixed = [tensor([-1, 3, -1, -1])], [tensor([-1, 3, 64, 96])]

    assert input_size_of(fixed, {"imgsz": "[320, 320]"}, Wishes()) == (64, 96)
    assert input_size_of(free, {"imgsz": "[320, 320]"}, Wishes(input_size=(96, 128))) == (96, 128)
    assert input_size_of(free, {"posneg.input_size": "[224, 256]"}, Wishes()) == (224, 256)
    assert input_size_of(free, {"imgsz": "[320, 416]"}, Wishes()) == (320, 416)
    assert input_size_of(free, {"imgsz": "320"}, Wishes()) == (320, 320)
    assert input_size_of(free, {"imgsz": "['a', 0]"}, Wishes()) == (640, 640)
    assert input_size_of([tensor([-1, 16])], {}, Wishes()) is None
    with pytest.raises(DescriptionError, match="fixes height and width"):
        input_size_of(fixed, {}, Wishes(input_size=(32, 32)))


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"posneg.labels": '["a", "b"]'}, ("a", "b")),
        ({"names": "{0: 'a', 1: 'b'}"}, ("a", "b")),
        ({"names": "['a', 'b']"}, ("a", "b")),
        ({"names": "{1: 'a', 2: 'b'}"}, None),
        ({"names": "{'x': 'a', 2: 'b'}"}, None),
        ({"names": "__import__('os').system('false')"}, None),
        ({"names": "[" * 100_000}, None),
        ({"posneg.labels": "[" * 100_000}, None),
        ({}, None),
    ],
)
def test_labels_are_read_and_never_run(metadata, expected):
    """Our own property or that of YOLO exports; what is neither is no label, and no code."""
    assert labels_of(metadata) == expected


def test_labels_must_fit_the_classes():
    """The owner's are refused where they do not, the file's are left out with a warning."""
    inputs = [tensor([-1, 3, 640, 640])]
    outputs = sample((1, 84, 8400))

    with pytest.raises(DescriptionError, match="3 labels for 80 classes") as refusal:
        describe(inputs, {}, outputs, Wishes(labels=("a", "b", "c"), layout="yolov8"))
    found = describe(inputs, {"names": "['a']"}, outputs, Wishes())

    assert refusal.value.parameter == "labels"
    assert (found["layout"], found["labels"]) == ("yolov8", None)
    assert "1 labels" in found["warnings"][0]


def test_the_owner_names_the_layout_and_it_must_fit():
    """Unknown names list the known ones; a layout of other outputs says what it needs."""
    inputs, outputs = [tensor([-1, 3, 640, 640])], sample((1, 8400, 85))

    assert describe(inputs, {}, outputs, Wishes(layout="yolov5"))["layout"] == "yolov5"
    with pytest.raises(DescriptionError, match="known: yolov8"):
        describe(inputs, {}, outputs, Wishes(layout="yolov99"))
    for layout in ("detr", "end_to_end_lists", "rtdetr"):
        with pytest.raises(DescriptionError, match=layout):
            describe(inputs, {}, outputs, Wishes(layout=layout))


def test_outputs_of_no_known_layout_are_served_as_tensors():
    """With a warning that names them."""
    found = describe([tensor([-1, 3, 640, 640])], {}, sample((1, 1000)), Wishes())

    assert found["layout"] is None
    assert "[1, 1000]" in found["warnings"][0]


def test_pixels_are_scaled_normalised_and_laid_out_as_the_input_takes_them():
    """Float in 0..1 exactly as training divides, normalised, or plain bytes; channels first or last."""
    boxed = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    plain = {"scale": 1 / 255}
    first, last = image_input([tensor([-1, 3, 4, 6])]), image_input([tensor([-1, 4, 6, 3])])
    whole = image_input([tensor([1, 3, 4, 6], datatype="UINT8")])
    half = image_input([tensor([1, 3, 4, 6], datatype="FP16")])
    scaled = boxed.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)

    np.testing.assert_array_equal(tensor_of(boxed, first, plain), scaled)
    np.testing.assert_array_equal(tensor_of(boxed, last, plain), scaled.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(tensor_of(boxed, whole, plain)[0], boxed.transpose(2, 0, 1))
    assert tensor_of(boxed, half, plain).dtype == np.float16
    normalised = tensor_of(boxed, last, {**plain, "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.1)})
    np.testing.assert_allclose(
        normalised, (scaled.transpose(0, 2, 3, 1) - [0.5, 0.4, 0.3]) / [0.2, 0.2, 0.1], rtol=1e-5
    )


def test_our_exports_say_how_pixels_are_scaled():
    """What the file says of its preprocessing is used, and nonsense in it is not."""
    inputs, outputs = [tensor([-1, 3, 640, 640])], sample((1, 84, 8400))

    def scale(written):
        return describe(inputs, {"posneg.preprocessing": written}, outputs, Wishes())["preprocessing"][
            "scale"
        ]

    assert scale(json.dumps({"scale": 1.0})) == 1.0
    assert scale(json.dumps({"scale": 0})) == 1 / 255
    assert scale("nonsense") == 1 / 255


def test_zeros_fit_any_signature():
    """Free axes are filled in, strings are empty."""
    made = zeros(
        [tensor([-1, 3, -1, -1]), tensor([-1, 2], "size", "INT64"), tensor([4], "s", "BYTES")], 2, (8, 9)
    )

    assert {name: (a.shape, a.dtype.kind) for name, a in made.items()} == {
        "images": ((2, 3, 8, 9), "f"),
        "size": ((2, 2), "i"),
        "s": ((4,), "O"),
    }
    assert made["s"].tolist() == [""] * 4
