"""Layers of small convolutional detectors: dense 3x3 convolutions throughout.

On a CPU the backward pass of depthwise convolutions costs more than that of dense ones with few channels.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from posneg.models.detectors._contract import Raw

Features = Float[Tensor, "B _ _ _"]

PRIOR = (
    0.01  # probability of each class at the first step: Lin et al., ICCV 2017, arXiv:1708.02002, section 4.1
)


class ConvBlock(nn.Sequential):
    """Convolution, batch norm, SiLU; padded so that a stride of 1 keeps the size."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(outputs, eps=1e-3),
            nn.SiLU(),
        )


class Stage(nn.Module):
    """Halve the size, then residual blocks on half of the channels, every step of which is kept and fused.

    Cross-stage partial network (Wang et al., arXiv:1911.11929) with the layer aggregation of ELAN (Wang et
    al., arXiv:2211.04800).
    """

    def __init__(self, inputs: int, outputs: int, *, blocks: int) -> None:
        super().__init__()
        half = outputs // 2
        self.down = ConvBlock(inputs, outputs, stride=2)
        self.split = ConvBlock(outputs, outputs, kernel=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(ConvBlock(half, half), ConvBlock(half, half)) for _ in range(blocks)
        )
        self.fuse = ConvBlock(half * (2 + blocks), outputs, kernel=1)

    def forward(self, features: Features) -> Features:
        """Half the height and width, rounded up."""
        parts = list(self.split(self.down(features)).chunk(2, dim=1))
        for block in self.blocks:
            parts.append(parts[-1] + block(parts[-1]))
        return self.fuse(torch.cat(parts, dim=1))  # type: ignore[no-any-return]


class PyramidPooling(nn.Module):
    """Context of three ranges at the coarsest level: He et al., arXiv:1406.4729, by chained 5x5 maxima."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.reduce = ConvBlock(channels, half, kernel=1)
        self.fuse = ConvBlock(4 * half, channels, kernel=1)

    def forward(self, features: Features) -> Features:
        """Same size."""
        parts = [self.reduce(features)]
        for _ in range(3):
            parts.append(functional.max_pool2d(parts[-1], 5, stride=1, padding=2))
        return self.fuse(torch.cat(parts, dim=1))  # type: ignore[no-any-return]


class PathAggregation(nn.Module):
    """Fusion of three levels, top down, then bottom up: Liu et al., CVPR 2018, arXiv:1803.01534."""

    def __init__(self, inputs: tuple[int, int, int], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(ConvBlock(channels, width, kernel=1) for channels in inputs)
        self.down_fuse = nn.ModuleList(ConvBlock(2 * width, width) for _ in range(2))
        self.reduce = nn.ModuleList(ConvBlock(width, width, stride=2) for _ in range(2))
        self.up_fuse = nn.ModuleList(ConvBlock(2 * width, width) for _ in range(2))

    def forward(self, features: list[Features]) -> list[Features]:
        """Finest level first, in and out."""
        fine, middle, coarse = (lateral(level) for lateral, level in zip(self.lateral, features, strict=True))
        middle = self.down_fuse[0](torch.cat([middle, _doubled(coarse)], 1))
        fine = self.down_fuse[1](torch.cat([fine, _doubled(middle)], 1))
        middle = self.up_fuse[0](torch.cat([middle, self.reduce[0](fine)], 1))
        coarse = self.up_fuse[1](torch.cat([coarse, self.reduce[1](middle)], 1))
        return [fine, middle, coarse]


class DenseHead(nn.Module):
    """Two towers a level: a distribution over `bins` distances for each side, and a logit for each class.

    Distributions as in Li et al., arXiv:2006.04388.
    """

    def __init__(self, width: int, *, strides: tuple[int, ...], classes: int, bins: int) -> None:
        super().__init__()
        self.strides = strides
        self.classes = classes
        self.bins = bins
        self.sides = nn.ModuleList(_tower(width, 4 * bins) for _ in strides)
        self.scores = nn.ModuleList(_tower(width, classes) for _ in strides)
        with torch.no_grad():
            for sides, scores in zip(self.sides, self.scores, strict=True):
                # Boxes of some four strides to begin with: with all bins alike they would span the image.
                _bias(sides).copy_(-0.5 * torch.arange(bins).repeat(4))
                _bias(scores).fill_(-math.log((1 - PRIOR) / PRIOR))

    def forward(self, features: list[Features]) -> Raw:
        """The levels one after another, each row by row; float32, whatever the features are."""
        dfl, logits, points, strides = [], [], [], []
        for level, stride, sides, scores in zip(features, self.strides, self.sides, self.scores, strict=True):
            dfl.append(sides(level).permute(0, 2, 3, 1).flatten(1, 2))
            logits.append(scores(level).permute(0, 2, 3, 1).flatten(1, 2))
            centers = _centers(level, stride)
            points.append(centers)
            strides.append(torch.full_like(centers[:, 0], stride))
        return Raw(
            dfl=torch.cat(dfl, 1).unflatten(-1, (4, self.bins)).float(),  # type: ignore[no-untyped-call]
            logits=torch.cat(logits, 1).float(),
            points=torch.cat(points),
            strides=torch.cat(strides),
        )


def _tower(width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(ConvBlock(width, width), nn.Conv2d(width, outputs, 1))


def _bias(tower: nn.Module) -> Tensor:
    assert isinstance(tower, nn.Sequential)
    bias = tower[-1].bias
    assert isinstance(bias, Tensor)
    return bias


def _centers(level: Features, stride: int) -> Float[Tensor, "N 2"]:
    """The centre (x, y) of each cell in pixels of the input, row by row."""
    rows = (torch.arange(level.shape[2], device=level.device, dtype=torch.float32) + 0.5) * stride
    columns = (torch.arange(level.shape[3], device=level.device, dtype=torch.float32) + 0.5) * stride
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([x, y], -1).flatten(0, 1)


def _doubled(features: Features) -> Features:
    return functional.interpolate(features, scale_factor=2.0, mode="nearest")
