"""Sessions: what they say of themselves, how they are stopped, and the same answers on either device."""

import threading

import numpy as np
import pytest
from onnx import TensorProto

from posneg.service.serving.sessions import RUNTIME_ERRORS, Session, Stop, cuda_available, reason
from tests.service import onnx_models


def test_a_session_tells_its_metadata(tmp_path):
    """As written in the file."""
    file = onnx_models.detector(tmp_path / "model.onnx", properties={"names": "['a']"})

    session = Session(file, threads=1, cuda=False)

    assert session.metadata == {"names": "['a']"}
    assert session.provider == "CPUExecutionProvider"


def test_tensors_that_share_memory_with_a_request_are_taken(tmp_path):
    """Read-only arrays, as they lie in a body."""
    session = Session(onnx_models.identity(tmp_path / "m.onnx", TensorProto.FLOAT), threads=1, cuda=False)
    tensor = np.frombuffer(np.arange(6, dtype=np.float32).tobytes(), np.float32).reshape(2, 3)

    (output,) = session.run(["y"], {"x": tensor})

    np.testing.assert_array_equal(output, tensor)


def test_a_run_can_be_stopped_from_outside(tmp_path):
    """From another thread, in the middle of a loop without end."""
    session = Session(onnx_models.endless(tmp_path / "m.onnx"), threads=1, cuda=False)
    stop = Stop()
    threading.Timer(0.1, stop).start()

    with pytest.raises(RUNTIME_ERRORS):
        session.run(["y"], {"x": np.ones((1, 1), np.float32)}, stop)


def test_reasons_tell_no_path_and_no_code(tmp_path):
    """What a caller gets to see of ONNX Runtime's messages."""
    with pytest.raises(RUNTIME_ERRORS) as failure:
        Session(tmp_path / "nothing.onnx", threads=1, cuda=False)

    assert str(tmp_path) in str(failure.value)
    assert str(tmp_path) not in reason(failure.value)
    assert "ONNXRuntimeError" not in reason(failure.value)
    assert reason(ValueError("[ONNXRuntimeError] : 1 : FAIL : a /var/lib/x/y.onnx b\n c")) == "a … b c"


@pytest.mark.gpu
@pytest.mark.skipif(not cuda_available(), reason="no CUDA device")
def test_a_gpu_answers_as_the_cpu_does(tmp_path):
    """To rounding."""
    file = onnx_models.detector(tmp_path / "model.onnx")
    images = np.random.default_rng(0).random((4, 3, *onnx_models.SIZE), np.float32)

    on_cpu, on_gpu = (Session(file, threads=1, cuda=cuda) for cuda in (False, True))

    assert on_gpu.provider == "CUDAExecutionProvider"
    np.testing.assert_allclose(
        on_gpu.run(["output0"], {"images": images})[0],
        on_cpu.run(["output0"], {"images": images})[0],
        atol=1e-4,
    )
