"""One ONNX file in ONNX Runtime: CUDA where there is a device, else the CPU; any run can be stopped."""

import ctypes
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as bindings

Arrays = Mapping[str, "np.ndarray[Any, Any]"]

# onnxruntime's exceptions share no class but Exception; Python's own come from its argument checks.
RUNTIME_ERRORS: tuple[type[Exception], ...] = (
    *(kind for kind in vars(bindings).values() if isinstance(kind, type) and issubclass(kind, Exception)),
    RuntimeError,
    ValueError,
    TypeError,
    MemoryError,
)
SEVERITY_FATAL = 4
PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .*? failed:)?\s*")
PATH = re.compile(r"(/[\w.+@~-]+){2,}")


class Session:
    """Runs one model; may be called from several threads at once."""

    def __init__(self, file: Path, *, threads: int, cuda: bool) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # A spinning thread burns a core between requests, which is what the next request needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = SEVERITY_FATAL
        providers = ["CUDAExecutionProvider"] if cuda else []
        self._session = onnxruntime.InferenceSession(
            str(file), options, providers=[*providers, "CPUExecutionProvider"]
        )
        self.provider: str = self._session.get_providers()[0]

    def run(self, names: Sequence[str], feeds: Arrays, stop: "Stop | None" = None) -> list[Any]:
        """The outputs called `names`; raises one of `RUNTIME_ERRORS`, also when `stop` was called."""
        outputs: list[Any] = self._session.run(list(names), dict(feeds), stop.options if stop else None)
        return outputs

    @property
    def metadata(self) -> dict[str, str]:
        """The file's metadata properties."""
        return dict(self._session.get_modelmeta().custom_metadata_map)


class Stop:
    """Ends a run from outside: a model may loop without end. One for each run."""

    def __init__(self) -> None:
        self.options = onnxruntime.RunOptions()
        self.options.log_severity_level = SEVERITY_FATAL

    def __call__(self) -> None:
        """The run that has these options fails at its next node."""
        self.options.terminate = True


@cache
def cuda_available() -> bool:
    """Whether a CUDA device is there, asked of the driver: that needs no torch, nor a failed session."""
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return False
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    found = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
    if found:
        onnxruntime.preload_dlls()  # CUDA libraries that lie in Python packages, as torch's do
    return bool(found)


def reason(error: Exception) -> str:
    """What ONNX Runtime says, without its codes and without paths of this machine."""
    text = PATH.sub("…", PREFIX.sub("", str(error)))
    return " ".join(text.split())[:500]
