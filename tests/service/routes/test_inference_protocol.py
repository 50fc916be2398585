"""The Open Inference Protocol, used by Triton's own client on a real socket."""

import gzip
import itertools
import json
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from onnx import TensorProto
from tritonclient.utils import InferenceServerException

from posneg.service.schemas.models import INFER_EXAMPLE, INFERRED_EXAMPLE
from tests.service import onnx_models

NUMBER = itertools.count()
A = np.arange(32, dtype=np.int32).reshape(2, 16)
B = np.full((2, 16), 5, np.int32)


@pytest.fixture(scope="module")
def client(server):
    """Triton's client."""
    with triton.InferenceServerClient(server.url.removeprefix("http://"), concurrency=8) as made:
        yield made


@pytest.fixture(scope="module")
def http(server):
    """A plain client, for what Triton's does not say."""
    with httpx.Client(base_url=server.url, timeout=60) as made:
        yield made


@pytest.fixture(scope="module")
def model(http, tmp_path_factory):
    """Sum and difference, in two versions that differ in their bytes alone."""
    file = onnx_models.add_sub(tmp_path_factory.mktemp("files") / "model.onnx")
    http.put("/v1/models/add_sub", content=file.read_bytes()).raise_for_status()
    yield "add_sub"
    http.delete("/v1/models/add_sub")


@pytest.fixture
def put(http, tmp_path):
    """Keep a file as a model of the test's own, gone afterwards."""
    names = []

    def keep(file):
        names.append(f"protocol-{next(NUMBER)}")
        http.put(f"/v1/models/{names[-1]}", content=file.read_bytes()).raise_for_status()
        return names[-1]

    yield keep
    for name in names:
        http.delete(f"/v1/models/{name}")


def inputs(a=A, b=B, *, binary=True):
    """Both inputs of the model."""
    made = []
    for name, tensor in (("INPUT0", a), ("INPUT1", b)):
        made.append(triton.InferInput(name, list(tensor.shape), "INT32"))
        made[-1].set_data_from_numpy(tensor, binary_data=binary)
    return made


def error(answer, status):
    """The text of a failure, once it is known to be one as the protocol has it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["error"]
    return answer.json()["error"]


def test_health_and_metadata(client, model):
    """Live, ready, who it is, and which extensions there are."""
    assert client.is_server_live()
    assert client.is_server_ready()
    metadata = client.get_server_metadata()
    assert metadata["name"] == "posneg"
    assert "binary_tensor_data" in metadata["extensions"]
    assert client.is_model_ready(model)
    assert client.is_model_ready(model, "1")
    assert not client.is_model_ready(model, "9")
    assert not client.is_model_ready("nothing")


def test_model_metadata_and_configuration(client, model):
    """Shapes with the batch in the one, without it in the other."""
    metadata, config = client.get_model_metadata(model), client.get_model_config(model, "1")

    assert (metadata["name"], metadata["versions"]) == (model, ["1"])
    assert metadata["inputs"][0] == {"name": "INPUT0", "datatype": "INT32", "shape": [-1, 16]}
    assert config["max_batch_size"] == 8
    assert config["input"][0] == {"name": "INPUT0", "data_type": "TYPE_INT32", "dims": ["16"]}


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
def test_infer_in_every_form(client, model, binary_in, binary_out):
    """Raw or JSON, either way; None asks for all outputs, as the client does by default."""
    outputs = None
    if binary_out is not None:
        outputs = [triton.InferRequestedOutput(n, binary_data=binary_out) for n in ("OUTPUT1", "OUTPUT0")]

    result = client.infer(model, inputs(binary=binary_in), outputs=outputs, request_id="r1")

    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), A + B)
    np.testing.assert_array_equal(result.as_numpy("OUTPUT1"), A - B)
    response = result.get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == ("r1", model, "1")
    assert [o["name"] for o in response["outputs"]] == (
        ["OUTPUT0", "OUTPUT1"] if outputs is None else ["OUTPUT1", "OUTPUT0"]
    )


def test_one_output_of_two(client, model):
    """Only what was asked for."""
    result = client.infer(
        model, inputs(), outputs=[triton.InferRequestedOutput("OUTPUT1")], model_version="1"
    )

    assert result.as_numpy("OUTPUT0") is None
    np.testing.assert_array_equal(result.as_numpy("OUTPUT1"), A - B)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compression_both_ways(client, model, algorithm):
    """The lengths in the header are those of the uncompressed body."""
    result = client.infer(
        model,
        inputs(),
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
    )

    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), A + B)


def test_asynchronous_requests(client, model):
    """As many as the client has connections."""
    sent = [client.async_infer(model, inputs(A + index)) for index in range(8)]

    for index, request in enumerate(sent):
        np.testing.assert_array_equal(request.get_result().as_numpy("OUTPUT0"), A + index + B)


def test_text_goes_both_ways(client, put, tmp_path):
    """BYTES, raw and as JSON."""
    name = put(onnx_models.identity(tmp_path / "text.onnx", TensorProto.STRING))
    texts = np.array([["plain", "grün", ""]], np.object_)
    for binary in (True, False):
        given = triton.InferInput("x", [1, 3], "BYTES")
        given.set_data_from_numpy(texts, binary_data=binary)
        outputs = [triton.InferRequestedOutput("y", binary_data=binary)]

        found = client.infer(name, [given], outputs=outputs).as_numpy("y")

        assert [t.decode() if isinstance(t, bytes) else t for t in found.reshape(-1)] == texts[0].tolist()


@pytest.mark.parametrize(
    ("kind", "datatype"),
    [(TensorProto.FLOAT16, "FP16"), (TensorProto.BOOL, "BOOL"), (TensorProto.UINT64, "UINT64")],
)
def test_other_types_go_both_ways(client, put, tmp_path, kind, datatype):
    """Half precision, truth values, the largest integers."""
    name = put(onnx_models.identity(tmp_path / "model.onnx", kind))
    numpy_type = {"FP16": np.float16, "BOOL": np.bool_, "UINT64": np.uint64}[datatype]
    tensor = np.array([[0, 1, 2**64 - 1 if datatype == "UINT64" else 1]], numpy_type)
    given = triton.InferInput("x", [1, 3], datatype)
    given.set_data_from_numpy(tensor)

    found = client.infer(name, [given]).as_numpy("y")

    np.testing.assert_array_equal(found, tensor)
    assert found.dtype == numpy_type


def test_a_raw_body_needs_no_json(http, put, tmp_path):
    """`curl --data-binary @tensor.raw` with a header that says 0."""
    name = put(onnx_models.identity(tmp_path / "model.onnx", TensorProto.FLOAT))
    tensor = np.arange(5, dtype=np.float32)

    answer = http.post(
        f"/v2/models/{name}/infer",
        content=tensor.tobytes(),
        headers={"Inference-Header-Content-Length": "0"},
    )

    length = int(answer.headers["inference-header-content-length"])
    assert json.loads(answer.content[:length])["outputs"][0]["shape"] == [1, 5]
    assert answer.content[length:] == tensor.tobytes()


def test_the_repository_can_be_listed_unloaded_and_loaded(client, put, tmp_path):
    """States as Triton names them; what is unloaded does not answer; loading ends when it does again."""
    name = put(onnx_models.add_sub(tmp_path / "model.onnx"))

    def state():
        return [row for row in client.get_model_repository_index() if row["name"] == name]

    assert state() == [{"name": name, "version": "1", "state": "READY", "reason": ""}]
    client.unload_model(name)
    assert not client.is_model_ready(name)
    assert state()[0]["state"] == "UNAVAILABLE"
    with pytest.raises(InferenceServerException, match="unloaded"):
        client.infer(name, inputs())
    client.load_model(name)
    assert client.is_model_ready(name)
    np.testing.assert_array_equal(client.infer(name, inputs()).as_numpy("OUTPUT0"), A + B)
    for refused in (lambda: client.load_model("nothing"), lambda: client.unload_model("nothing")):
        with pytest.raises(InferenceServerException, match="no model 'nothing'"):
            refused()
    with pytest.raises(InferenceServerException, match="PUT /v1/models"):
        client.load_model(name, config="{}", files={"file:1/model.onnx": b"x"})


def test_statistics_count_rows_and_runs(client, put, tmp_path):
    """Three requests of two rows: six inferences, and no more runs than requests; figures only grow."""
    name = put(onnx_models.add_sub(tmp_path / "model.onnx"))
    (before,) = client.get_inference_statistics(name)["model_stats"]
    for _ in range(3):
        client.infer(name, inputs())

    (after,) = client.get_inference_statistics(name, "1")["model_stats"]

    assert (before["inference_count"], after["inference_count"], after["execution_count"]) == (0, 6, 3)
    assert after["inference_stats"]["success"]["count"] == 3
    assert after["inference_stats"]["compute_infer"]["ns"] > 0
    assert name in {stats["name"] for stats in client.get_inference_statistics()["model_stats"]}


def test_many_callers_get_their_own_answers(server, model):
    """Eight connections, two hundred requests of different sizes."""
    start = threading.Barrier(8)

    def ask(caller):
        with triton.InferenceServerClient(server.url.removeprefix("http://")) as own:
            start.wait(30)
            for index in range(25):
                a = np.full((1 + index % 4, 16), 1000 * caller + index, np.int32)
                found = own.infer(model, inputs(a, a)).as_numpy("OUTPUT0")
                np.testing.assert_array_equal(found, a + a)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(ask, range(8)))


def test_versions_change_under_load_without_a_failure(server, http, tmp_path):
    """Three versions while four callers ask on: every answer is a version's own."""
    files = [
        onnx_models.save(
            tmp_path / f"{number}.onnx",
            [onnx_models.helper.make_node("Add", ["x", "c"], ["y"])],
            {"x": (TensorProto.FLOAT, ["b", 1])},
            {"y": (TensorProto.FLOAT, ["b", 1])},
            constants={"c": np.array([number], np.float32)},
        )
        for number in (1, 2, 3)
    ]
    http.put("/v1/models/swapped", content=files[0].read_bytes()).raise_for_status()
    done = threading.Event()

    def ask(_):
        answers = []
        with triton.InferenceServerClient(server.url.removeprefix("http://")) as own:
            given = triton.InferInput("x", [1, 1], "FP32")
            given.set_data_from_numpy(np.zeros((1, 1), np.float32))
            while not done.is_set():
                result = own.infer("swapped", [given])
                answers.append((int(result.get_response()["model_version"]), result.as_numpy("y").item()))
        return answers

    with ThreadPoolExecutor(4) as threads:
        asking = [threads.submit(ask, caller) for caller in range(4)]
        for file in files[1:]:
            http.put("/v1/models/swapped", content=file.read_bytes()).raise_for_status()
        done.set()
        answers = [answer for each in asking for answer in each.result()]
    http.delete("/v1/models/swapped")

    assert answers
    assert all(version == value for version, value in answers)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "not JSON"),
        (b'{"inputs": 3}', "list of 'inputs'"),
        (b"[" * 100_000, "not JSON"),
        (
            b'{"inputs": [{"name": "INPUT0", "shape": [1, 16], "datatype": "INT32", "data": [1]}]}',
            "1 elements",
        ),
        (b'{"inputs": []}', "is missing"),
    ],
)
def test_malformed_requests_are_the_callers_mistakes(http, model, body, said):
    """400 and a text, never a 500."""
    assert said in error(http.post(f"/v2/models/{model}/infer", content=body), 400)


def test_an_input_that_the_model_fails_on_is_the_callers_mistake(client, put, tmp_path):
    """400 with what ONNX Runtime says."""
    name = put(
        onnx_models.save(
            tmp_path / "model.onnx",
            [onnx_models.helper.make_node("Gather", ["table", "x"], ["y"])],
            {"x": (TensorProto.INT64, ["b", 1])},
            {"y": (TensorProto.FLOAT, ["b", 1])},
            constants={"table": np.array([10, 20], np.float32)},
        )
    )
    given = triton.InferInput("x", [1, 1], "INT64")
    given.set_data_from_numpy(np.array([[99]]))

    with pytest.raises(InferenceServerException, match="indices") as refusal:
        client.infer(name, [given])

    assert refusal.value.status() == "400"


def test_failures_have_the_protocols_body(http, model):
    """Unknown models, versions and paths, wrong verbs, shared memory, unknown encodings."""
    error(http.get("/v2/models/nothing"), 404)
    error(http.get(f"/v2/models/{model}/versions/9"), 404)
    error(http.post("/v2/models/nothing/infer", content=b"{}"), 404)
    error(http.get("/v2/nothing"), 404)
    error(http.get(f"/v2/models/{model}/infer"), 405)
    error(http.get("/v2/systemsharedmemory/status"), 501)
    error(http.post("/v2/cudasharedmemory/region/r/register", content=b"{}"), 501)
    infer = f"/v2/models/{model}/infer"
    error(http.post(infer, content=b"x", headers={"Content-Encoding": "br"}), 415)
    error(http.post(infer, content=b"x", headers={"Content-Encoding": "gzip"}), 400)
    error(http.post(infer, content=gzip.compress(b"{}" * 9)[:-9], headers={"Content-Encoding": "gzip"}), 400)
    error(http.post("/v2/repository/index", content=b"[]"), 400)
    error(http.post("/v2/repository/index", content=b'{"ready": 3}'), 400)


def test_a_body_that_inflates_without_end_is_refused(start_server):
    """A megabyte of zeros from a kilobyte, where a megabyte is the limit: 413, and no memory for more."""
    small = start_server(max_body_mib=1)
    bomb = zlib.compress(bytes(64 * 2**20), 9)

    answer = httpx.post(
        f"{small.url}/v2/models/any/infer", content=bomb, headers={"Content-Encoding": "deflate"}, timeout=60
    )

    assert "max_body_mib" in error(answer, 413)


def test_the_index_leaves_out_what_is_not_ready_where_asked(http, model):
    """And takes an empty body for none."""
    rows = http.post("/v2/repository/index", content=b'{"ready": true}').json()

    assert {row["state"] for row in rows} == {"READY"}
    assert model in {row["name"] for row in http.post("/v2/repository/index").json()}


def test_the_contracts_example_is_answered_as_shown(http, put, tmp_path):
    """The documented request, sent to the model that it names, has the documented answer."""
    name = put(onnx_models.identity(tmp_path / "model.onnx", TensorProto.FLOAT))

    answer = http.post(f"/v2/models/{name}/infer", json=INFER_EXAMPLE)

    assert answer.json() == {**INFERRED_EXAMPLE, "model_name": name}
