"""Tensors over the wire: whatever goes in comes out, and every malformed request says what is wrong."""

import json
import struct
from contextlib import suppress

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from posneg.service.errors import BadRequest
from posneg.service.serving.inputs import NUMPY_TYPES
from posneg.service.serving.protocol import InferRequest, read_request, write_response

NUMBERS = sorted(set(NUMPY_TYPES) - {"BYTES"})
X = [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]
Y = [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}]


def read(message, raw=b"", *, inputs=X, outputs=Y, max_rows=8):
    """Read a request: JSON, then raw tensors, if any, with the header that says where these begin."""
    content = json.dumps(message).encode()
    length = str(len(content)) if raw else None
    return read_request(content + raw, length, inputs=inputs, outputs=outputs, max_rows=max_rows)


def one(**changes):
    """A request of one row, as JSON, with some keys of its input changed."""
    given = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
    return {"inputs": [{key: value for key, value in {**given, **changes}.items() if value is not None}]}


@given(data=st.data(), datatype=st.sampled_from(NUMBERS), raw=st.booleans())
def test_numbers_come_through(data, datatype, raw):
    """Every datatype, raw and (but for FP16, which has no such form) as JSON, any number of rows."""
    kind = np.dtype(NUMPY_TYPES[datatype])
    elements = None if kind.kind != "f" else st.floats(width=16, allow_nan=raw, allow_infinity=raw)
    tensor = data.draw(
        arrays.arrays(kind, st.tuples(st.integers(1, 8), st.integers(0, 3)), elements=elements)
    )
    described = {"name": "x", "datatype": datatype, "shape": [-1, -1]}
    raw = raw or datatype == "FP16"
    given = {"name": "x", "datatype": datatype, "shape": list(tensor.shape)}
    given |= (
        {"parameters": {"binary_data_size": tensor.nbytes}} if raw else {"data": tensor.reshape(-1).tolist()}
    )
    content = orjson.dumps({"id": "7", "inputs": [given], "parameters": {"binary_data_output": raw}})

    request = read_request(
        content + (tensor.tobytes() if raw else b""),
        str(len(content)) if raw else None,
        inputs=[described],
        outputs=[{**described, "name": "y"}],
        max_rows=8,
    )
    body = write_response(request, [request.feeds["x"]], {"y": datatype}, model="m", version=3)

    np.testing.assert_array_equal(request.feeds["x"], tensor)
    assert request.feeds["x"].dtype == kind
    answer = json.loads(body.content[: body.json_length])
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("7", "m", "3")
    (output,) = answer["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("y", datatype, list(tensor.shape))
    if not raw:
        assert body.json_length is None
        np.testing.assert_array_equal(np.array(output["data"], kind), tensor.reshape(-1))
    elif tensor.size:
        assert body.content[body.json_length :] == tensor.tobytes()
        assert output["parameters"]["binary_data_size"] == tensor.nbytes
    else:
        assert body.json_length is None


@given(texts=st.lists(st.text(max_size=5), min_size=1, max_size=6), raw=st.booleans())
def test_text_comes_through(texts, raw):
    """BYTES: each element its length and UTF-8, or a JSON string."""
    described = [{"name": "x", "datatype": "BYTES", "shape": [-1]}]
    encoded = b"".join(struct.pack("<I", len(t.encode())) + t.encode() for t in texts)
    given = {"name": "x", "datatype": "BYTES", "shape": [len(texts)]}
    given |= {"parameters": {"binary_data_size": len(encoded)}} if raw else {"data": texts}
    content = json.dumps({"inputs": [given]}).encode()

    request = read_request(
        content + (encoded if raw else b""),
        str(len(content)) if raw else None,
        inputs=described,
        outputs=described,
        max_rows=0,
    )
    wanted = InferRequest(id=None, feeds={}, rows=1, outputs={"x": raw}, timeout_s=1.0)
    body = write_response(wanted, [request.feeds["x"]], {"x": "BYTES"}, model="m", version=1)

    assert request.feeds["x"].tolist() == texts
    if raw:
        assert body.content[body.json_length :] == encoded
    else:
        assert json.loads(body.content)["outputs"][0]["data"] == texts


def test_nested_lists_are_row_major():
    """As flat ones; both are legal."""
    tensor = read(one(shape=[2, 2], data=[[1, 2], [3, 4]])).feeds["x"]

    assert tensor.tolist() == [[1, 2], [3, 4]]


def test_outputs_come_in_the_order_asked_for_each_in_its_form():
    """The first raw, the second as JSON, the third left out; bytes follow in that order."""
    outputs = [{"name": n, "datatype": "FP32", "shape": [-1]} for n in ("a", "b", "c")]
    message = one() | {"outputs": [{"name": "c", "parameters": {"binary_data": True}}, {"name": "a"}]}

    request = read(message, outputs=outputs)
    body = write_response(
        request,
        [np.array([3], np.float32), np.array([1], np.float32)],
        {"a": "FP32", "c": "FP32"},
        model="m",
        version=1,
    )

    assert request.outputs == {"c": True, "a": False}
    answer = json.loads(body.content[: body.json_length])
    assert [output["name"] for output in answer["outputs"]] == ["c", "a"]
    assert "id" not in answer
    assert body.content[body.json_length :] == np.array([3], np.float32).tobytes()


def test_a_body_without_json_is_the_one_input():
    """Header length 0: shape from the length, outputs raw."""
    tensor = np.array([[1, 2]], np.float32)

    request = read_request(tensor.tobytes(), "0", inputs=X, outputs=Y, max_rows=8)

    assert request.feeds["x"].tolist() == [[1, 2]]
    assert request.outputs == {"y": True}
    free = [{"name": "x", "datatype": "UINT8", "shape": [-1, -1]}]
    assert read_request(b"abc", "0", inputs=free, outputs=Y, max_rows=8).feeds["x"].shape == (1, 3)
    for inputs in ([*X, *X], [{**X[0], "datatype": "BYTES"}], [{**X[0], "shape": [-1, -1, -1]}]):
        with pytest.raises(BadRequest):
            read_request(tensor.tobytes(), "0", inputs=inputs, outputs=Y, max_rows=8)
    with pytest.raises(BadRequest, match="12 bytes"):
        read_request(tensor.tobytes() + bytes(4), "0", inputs=X, outputs=Y, max_rows=8)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ([], "list of 'inputs'"),
        ({}, "list of 'inputs'"),
        ({"inputs": {}}, "list of 'inputs'"),
        ({"inputs": []}, "'x' is missing"),
        ({"inputs": [1]}, "'name'"),
        (one() | {"id": 3}, "'id'"),
        (one(name="z"), "unexpected inference input 'z'"),
        ({"inputs": one()["inputs"] * 2}, "comes twice"),
        (one(shape=None), "'shape'"),
        (one(shape=[1, -2]), "'shape'"),
        (one(shape=[1.0, 2]), "'shape'"),
        (one(shape=[True, 2]), "'shape'"),
        (one(shape=[2]), "has the shape"),
        (one(shape=[1, 3], data=[1, 2, 3]), "has the shape"),
        (one(datatype="FP64"), "takes FP32"),
        (one(datatype=None), "takes FP32"),
        (one(data=None), "no list 'data'"),
        (one(data="text"), "no list 'data'"),
        (one(data=[1]), "1 elements"),
        (one(data=[1, 2, 3]), "3 elements"),
        (one(data=[[1, 2], 3]), "mixes"),
        (one(data=[1, "a"]), "'a'"),
        (one(data=[1, True]), "True"),
        (one(data=[1, None]), "None"),
        (one(data=[1, 1e39]), "cannot hold"),
        (one(parameters=3), "'parameters'"),
        (one(parameters={"shared_memory_region": "r"}), "shared memory"),
        (one(parameters={"binary_data_size": -1}, data=None), "binary_data_size"),
        (one(parameters={"binary_data_size": 8}), "both"),
        (one(parameters={"binary_data_size": 8}, data=None), "Inference-Header-Content-Length was not sent"),
        (one() | {"outputs": [{"name": "z"}]}, "output 'z'"),
        (one() | {"outputs": [{"name": "y"}, {"name": "y"}]}, "twice"),
        (one() | {"outputs": "y"}, "'outputs'"),
        (one() | {"outputs": [{"name": "y", "parameters": {"classification": 3}}]}, "classification"),
        (one() | {"parameters": []}, "'parameters'"),
        (one() | {"parameters": {"triton_x": 1}}, "triton_"),
        (one() | {"parameters": {"timeout": -1}}, "timeout"),
        (one(shape=[0, 2], data=[]), "batch-size"),
        (one(shape=[9, 2], data=[0] * 18), "batch-size must be 1 to 8"),
    ],
)
def test_a_malformed_request_says_what_is_wrong(message, said):
    """Each of the caller's mistakes is a 400 that names it."""
    with pytest.raises(BadRequest, match=said):
        read(message)


@pytest.mark.parametrize(
    ("size", "raw", "said"),
    [
        (8, bytes(4), "expecting 4 additional"),
        (8, bytes(9), "unexpected additional"),
        (4, bytes(4), "4 bytes"),
    ],
)
def test_raw_sizes_must_add_up(size, raw, said):
    """Too few bytes, too many, or another number than the shape has."""
    with pytest.raises(BadRequest, match=said):
        read(one(parameters={"binary_data_size": size}, data=None), raw)


@pytest.mark.parametrize("header", ["-1", "x", "1.5", "99999", ""])
def test_the_json_length_must_be_one(header):
    """A number of bytes within the body."""
    with pytest.raises(BadRequest, match="Inference-Header-Content-Length"):
        read_request(json.dumps(one()).encode(), header, inputs=X, outputs=Y, max_rows=8)


@pytest.mark.parametrize("raw", [b"\x05\x00\x00\x00ab", b"\x01\x00", b"\x01\x00\x00\x00\xff", b""])
def test_broken_text_is_refused(raw):
    """An element that is cut off, is not UTF-8, or is missing."""
    message = one(datatype="BYTES", shape=[1], data=None, parameters={"binary_data_size": len(raw)})
    inputs = [{"name": "x", "datatype": "BYTES", "shape": [-1]}]
    content = json.dumps(message).encode()

    with pytest.raises(BadRequest):
        read_request(content + raw, str(len(content)), inputs=inputs, outputs=Y, max_rows=0)


def test_what_json_cannot_carry_is_refused_and_raw_is_offered():
    """NaN in an output asked for as JSON, and FP16 either way."""
    request = read(one())

    with pytest.raises(BadRequest, match="binary"):
        write_response(request, [np.array([np.nan], np.float32)], {"y": "FP32"}, model="m", version=1)
    with pytest.raises(BadRequest, match="binary"):
        write_response(request, [np.array([1], np.float16)], {"y": "FP16"}, model="m", version=1)
    half = [{"name": "x", "datatype": "FP16", "shape": [-1, 2]}]
    with pytest.raises(BadRequest, match="binary"):
        read(one(datatype="FP16"), inputs=half)


def test_unknown_parameters_are_no_error():
    """They are the caller's business."""
    request = read(one() | {"parameters": {"mine": 1, "timeout": 2_000_000, "priority": 1}})

    assert request.timeout_s == 2


@given(body=st.binary(max_size=200), header=st.sampled_from([None, "0", "1", "20"]))
def test_no_bytes_break_the_reader(body, header):
    """Whatever comes is read or refused."""
    with suppress(BadRequest):
        read_request(body, header, inputs=X, outputs=Y, max_rows=8)
