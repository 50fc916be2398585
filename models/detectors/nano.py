"""`nano`: about a million parameters, made to be trained from scratch in minutes, on a CPU too."""

from typing import Annotated

from annotated_types import Ge, Le
from jaxtyping import Float
from torch import Tensor, nn

from posneg.models.detectors import detector
from posneg.models.detectors._contract import Detector, Raw
from posneg.models.detectors._layers import ConvBlock, DenseHead, PathAggregation, PyramidPooling, Stage

STRIDES = (8, 16, 32)
STEM = 16
WIDTHS = (32, 64, 96, 128)  # channels at strides 4, 8, 16, 32
BLOCKS = (1, 2, 2, 1)
NECK = 64


class Nano(Detector):
    """Plain convolutions at strides 2 to 32, a path aggregation neck and a head on strides 8, 16 and 32."""

    stride = STRIDES[-1]

    def __init__(self, *, classes: int, bins: int) -> None:
        super().__init__()
        self.stem = ConvBlock(3, STEM, stride=2)
        self.stages = nn.ModuleList(
            Stage(inputs, outputs, blocks=blocks)
            for inputs, outputs, blocks in zip((STEM, *WIDTHS[:-1]), WIDTHS, BLOCKS, strict=True)
        )
        self.pooling = PyramidPooling(WIDTHS[-1])
        self.neck = PathAggregation(WIDTHS[1:], NECK)
        self.head = DenseHead(NECK, strides=STRIDES, classes=classes, bins=bins)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Raw:
        """The raw head output of RGB images in 0..1, sides multiples of 32."""
        features = self.stem(images)
        levels = []
        for stage in self.stages:
            features = stage(features)
            levels.append(features)
        raw: Raw = self.head(self.neck([*levels[1:-1], self.pooling(levels[-1])]))
        return raw


@detector
def nano(*, classes: Annotated[int, Ge(1)], bins: Annotated[int, Ge(2), Le(64)] = 16) -> Nano:
    """A new network with random weights from torch's generator; distances reach `bins` - 1 strides."""
    return Nano(classes=classes, bins=bins)
