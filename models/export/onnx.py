"""A detector as one ONNX file: decoding inside the graph, any batch, metadata that says how to use it."""

import copy
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, cast

import onnx
import torch
from jaxtyping import Float
from torch import Tensor, nn

from posneg.models.export.metadata import INPUT, OUTPUT, properties

OPSET = 18  # the lowest that the exporter writes; TensorRT reads it since 8.6
MAX_BATCH = 1024  # bound of the symbolic batch while tracing; the file itself has none


class Decodes(Protocol):
    """A detector as export sees it."""

    def __call__(self, images: Float[Tensor, "B 3 H W"]) -> object:
        """Raw outputs of RGB images in 0..1."""

    def decode(self, raw: object) -> tuple[Float[Tensor, "B N 4"], Float[Tensor, "B N C"]]:
        """Boxes, xyxy in input pixels, and class probabilities."""


class Decoded(nn.Module):
    """A detector with its decoding: images in, cx, cy, w, h (input pixels) and class probabilities out."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D N"]:
        """The layout that YOLOv8 exports have, so that whatever reads these reads this."""
        detector = cast(Decodes, self.detector)
        boxes, scores = detector.decode(detector(images))
        center = (boxes[..., :2] + boxes[..., 2:]) / 2
        size = boxes[..., 2:] - boxes[..., :2]
        return torch.cat([center, size, scores], -1).transpose(1, 2)


def frozen(detector: nn.Module) -> Decoded:
    """A copy for inference on the CPU in float32; the detector itself, maybe in training, stays as it is."""
    return Decoded(copy.deepcopy(detector)).to(device="cpu", dtype=torch.float32).eval()


def export(detector: nn.Module, *, labels: Sequence[str], input_size: tuple[int, int], file: Path) -> None:
    """Write `detector` to `file`: input `images` [B, 3, H, W], RGB in 0..1, letterboxed; output `output0`.

    `input_size` is (height, width) in pixels. The same weights give the same bytes.
    """
    with _quiet(), torch.no_grad():
        # Traced here, not by the exporter, which on a failure would go on to other ways and fix the batch.
        traced = torch.export.export(
            frozen(detector),
            (torch.zeros(2, 3, *input_size),),  # a batch of 1 would be taken for a constant
            dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1, max=MAX_BATCH)}},
        )
        program = torch.onnx.export(
            traced,
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
    assert program is not None, "the dynamo exporter returns a program"
    model = _cleaned(program.model_proto)
    onnx.helper.set_model_props(model, properties(labels=labels, input_size=input_size))
    onnx.checker.check_model(model, full_check=True)
    onnx.save_model(model, file)


def _cleaned(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without the source files and stack traces that the exporter notes; the free axis is called `batch`."""
    graph = model.graph
    del model.metadata_props[:], graph.metadata_props[:], graph.value_info[:]
    for item in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        del item.metadata_props[:]
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what torch 2.13 says of itself: a deprecation in its own code, torchvision missing."""
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registration.level
    registration.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r".*LeafSpec.* is deprecated", FutureWarning)
            yield
    finally:
        registration.setLevel(level)
