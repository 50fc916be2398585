"""Safetensors bodies: the same reading as JSON, and the same faults."""

import json
import struct
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save
from safetensors.torch import save as save_torch

from posneg.service.errors import InvalidRequest
from posneg.service.schemas.losses import parse_safetensors
from tests.service.schemas.requests import GRID, HEAD, Json, read, without

COLUMNS = HEAD["images"][0]["predictions"]


def body(tensors: dict[str, Any], request: object) -> bytes:
    """A safetensors body as the library writes it."""
    return save(tensors, metadata={"request": json.dumps(request)})


def tensors_of(columns: Json, image: int = 0) -> dict[str, Any]:
    """Columns as arrays under their names."""
    arrays = {
        name: np.array(column, dtype=np.float32) for name, column in columns.items() if name != "sampled"
    }
    return {f"images.{image}.predictions.{name}": array for name, array in arrays.items()}


def raw(header: object, data: bytes = b"") -> bytes:
    """A body with a header of our own."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def refusal(data: bytes) -> InvalidRequest:
    """What a body is refused with."""
    with pytest.raises(InvalidRequest) as caught:
        parse_safetensors(data)
    return caught.value


def test_tensors_read_as_the_same_columns_in_json() -> None:
    """Every column, and `sampled` as whole numbers; float64 and writable."""
    request = without(HEAD, ("images", 0, "predictions"))
    tensors = tensors_of(COLUMNS)
    tensors["images.0.predictions.sampled"] = np.array(COLUMNS["sampled"], dtype=np.int64)

    found, expected = parse_safetensors(body(tensors, request)), read(HEAD)

    ours, theirs = found.images[0].predictions, expected.images[0].predictions
    assert ours.columns.keys() == theirs.columns.keys()
    for name, column in theirs.columns.items():
        np.testing.assert_array_equal(ours.columns[name], column)
        assert ours.columns[name].dtype == np.float64
        assert ours.columns[name].flags.writeable
    assert ours.sampled is not None
    assert ours.sampled.tolist() == COLUMNS["sampled"]
    assert found.classes == expected.classes


def test_a_grid_in_the_request_goes_with_tensors() -> None:
    """What is no column stays in the JSON."""
    columns = GRID["images"][0]["predictions"]
    request = {**GRID, "images": [{**GRID["images"][0], "predictions": {"grid": columns["grid"]}}]}
    tensors = tensors_of({name: columns[name] for name in ("boxes", "logits")})

    assert parse_safetensors(body(tensors, request)).images[0].grid


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int32])
def test_every_dtype_is_read(dtype: torch.dtype) -> None:
    """Halves and quarters are exact in all of them but the whole numbers."""
    logits = torch.tensor([[0.5, 1.25], [-3.0, 40.0]]).to(dtype)
    boxes = torch.zeros(2, 4, dtype=dtype)
    data = save_torch(
        {"images.0.predictions.logits": logits, "images.0.predictions.boxes": boxes},
        metadata={"request": '{"images": [{}], "classes": ["a", "b"]}'},
    )

    found = parse_safetensors(data).images[0].predictions

    assert found.columns["logits"].tolist() == logits.double().tolist()


def test_no_tensors_is_a_request() -> None:
    """Everything may be in the JSON."""
    assert parse_safetensors(raw({"__metadata__": {"request": json.dumps(HEAD)}})).classes == ["x", "y"]


FINE = np.zeros((2, 4), dtype=np.float32)
BAD: list[tuple[dict[str, Any], object, str, str]] = [
    ({"images.0.predictions.boxs": FINE}, {"images": [{}]}, "/images/0/predictions/boxs", "unknown_field"),
    ({"weights": FINE}, {"images": [{}]}, "/weights", "unknown_field"),
    ({"images.1.predictions.boxes": FINE}, {"images": [{}]}, "/images/1", "missing_field"),
    ({"images.0.predictions.boxes": FINE}, {}, "/images/0", "missing_field"),
    ({"images.0.predictions.boxes": FINE}, [], "/images/0", "missing_field"),
    (
        {"images.0.predictions.boxes": FINE},
        {"images": [{"predictions": []}]},
        "/images/0/predictions/boxes",
        "conflicting_fields",
    ),
    (
        {"images.0.predictions.boxes": FINE},
        {"images": [{"predictions": {"boxes": []}}]},
        "/images/0/predictions/boxes",
        "conflicting_fields",
    ),
    (
        {"images.0.predictions.boxes": FINE[:, :3], "images.0.predictions.logits": FINE},
        {"images": [{}]},
        "/images/0/predictions/boxes",
        "wrong_shape",
    ),
    (
        {"images.0.predictions.boxes": FINE, "images.0.predictions.logits": FINE[:1]},
        {"images": [{}]},
        "/images/0/predictions/logits",
        "row_count",
    ),
]


@pytest.mark.parametrize(("tensors", "request_", "pointer", "code"), BAD, ids=range(len(BAD)))
def test_a_bad_tensor_is_pointed_at(
    tensors: dict[str, Any], request_: object, pointer: str, code: str
) -> None:
    """By the place where its column would stand in JSON."""
    assert [(f.pointer, f.code) for f in refusal(body(tensors, request_)).faults] == [(pointer, code)]


META = {"request": '{"images": [{}]}'}
NAME = "images.0.predictions.boxes"
ENTRIES: list[tuple[Any, str]] = [
    ({"dtype": "F8", "shape": [0, 4], "data_offsets": [0, 0]}, "unknown_value"),
    ({"dtype": ["F32"], "shape": [0, 4], "data_offsets": [0, 0]}, "unknown_value"),
    ({"dtype": "F32", "shape": [-1, 4], "data_offsets": [0, 0]}, "wrong_shape"),
    ({"dtype": "F32", "shape": [0, 2**40], "data_offsets": [0, 0]}, "wrong_shape"),
    ({"dtype": "F32", "shape": [1, 1, 1, 4], "data_offsets": [0, 16]}, "wrong_shape"),
    ({"dtype": "F32", "shape": "4", "data_offsets": [0, 0]}, "wrong_shape"),
    ({"dtype": "F32", "shape": [1, 4], "data_offsets": [0, 17]}, "out_of_range"),
    ({"dtype": "F32", "shape": [1, 4], "data_offsets": [8, 0]}, "out_of_range"),
    ({"dtype": "F32", "shape": [1, 4], "data_offsets": [0]}, "out_of_range"),
    ({"dtype": "F32", "shape": [1, 4], "data_offsets": [0, 8]}, "wrong_length"),
    ({"dtype": "F32", "shape": [2**31, 2**31], "data_offsets": [0, 16]}, "wrong_length"),
    ("no entry", "unknown_value"),
    (None, "unknown_value"),
]


@pytest.mark.parametrize(("entry", "code"), ENTRIES, ids=range(len(ENTRIES)))
def test_a_header_that_lies_is_pointed_at(entry: object, code: str) -> None:
    """Dtype, shape and offsets are checked against the bytes before any is read."""
    found = refusal(raw({"__metadata__": META, NAME: entry}, b"\0" * 16))

    assert [(f.pointer, f.code) for f in found.faults] == [("/images/0/predictions/boxes", code)]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 7,
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 100) + b"{}",
        raw([]),
        raw({}),
        raw({"__metadata__": {"request": 1}}),
        raw({"__metadata__": [1]}),
        raw({"__metadata__": {"request": "{"}}),
        struct.pack("<Q", 3) + b"{,}",
    ],
    ids=range(10),
)
def test_what_is_no_safetensors_request_is_refused(data: bytes) -> None:
    """Cut short, too long a header, no JSON, no request in it."""
    assert refusal(data).faults


def test_header_and_tensors_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A header's length and the number of tensors have limits of their own."""
    tensors = {f"images.{n}.predictions.boxes": FINE for n in range(3)}
    data = body(tensors, {"images": [{}, {}, {}]})
    monkeypatch.setattr("posneg.service.schemas.tensors.MAX_TENSORS", 2)
    assert "3 tensors" in refusal(data).detail

    monkeypatch.setattr("posneg.service.schemas.tensors.MAX_HEADER", 10)
    assert "header" in refusal(data).detail


@given(position=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255), cut=st.floats(0, 1))
def test_a_damaged_body_is_taken_or_refused(position: float, value: int, cut: float) -> None:
    """One byte changed and the end cut off: never anything but a reading or a problem."""
    data = bytearray(body(tensors_of(COLUMNS), without(HEAD, ("images", 0, "predictions"))))
    data[int(position * len(data))] = value
    for damaged in (bytes(data), bytes(data[: int(cut * len(data))])):
        with suppress(InvalidRequest):
            parse_safetensors(damaged)
