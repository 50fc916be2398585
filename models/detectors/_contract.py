"""What training and export ask of a detector."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from posneg.models.boxes import from_distances
from posneg.models.heads import boxes_from_dfl, expected_distances
from posneg.models.types import ClassScores, Predictions


class Raw(NamedTuple):
    """A dense head's output: the points of all levels one after another, finest first; points in pixels."""

    dfl: Float[Tensor, "B N 4 R"]
    logits: Float[Tensor, "B N C"]
    points: Float[Tensor, "N 2"]
    strides: Float[Tensor, "N"]


class Detector(nn.Module):
    """An anchor-free network with distribution heads; a subclass gives `forward`.

    Input sides must be multiples of `stride`, the largest of the head.
    """

    stride: int = 32

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Raw:
        """The raw head output of RGB images in 0..1."""
        raise NotImplementedError

    def predictions(self, raw: Raw) -> Predictions:
        """The batch as the criterion takes it: flat, image after image; it decodes matched boxes anew."""
        images, count = raw.logits.shape[:2]
        points, strides = raw.points.repeat(images, 1), raw.strides.repeat(images)
        dfl = raw.dfl.flatten(0, 1)
        with torch.no_grad():
            boxes = boxes_from_dfl(dfl, points, strides)
        return Predictions(
            boxes=boxes,
            boxes_from_dfl=True,
            scores=ClassScores(logits=raw.logits.flatten(0, 1)),
            image=torch.arange(images, device=dfl.device).repeat_interleave(count),
            points=points,
            strides=strides,
            dfl=dfl,
        )

    def decode(self, raw: Raw) -> tuple[Float[Tensor, "B N 4"], Float[Tensor, "B N C"]]:
        """Boxes (xyxy, pixels of the input) and class probabilities; plain operations, for export."""
        distances = expected_distances(raw.dfl) * raw.strides[:, None]
        return from_distances(raw.points, distances), raw.logits.sigmoid()
