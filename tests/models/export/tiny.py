"""A detector of the contract, small enough to export in seconds."""

import torch
from torch import Tensor, nn

STRIDES = (8, 16)
BINS = 4
CLASSES = 3


class TinyDetector(nn.Module):
    """Two levels, a distribution head, upsampling and batch normalisation: what the real ones are made of."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 8, 8, bias=False), nn.BatchNorm2d(8), nn.SiLU(), nn.Conv2d(8, 8, 1)
        )
        self.down = nn.Conv2d(8, 8, 3, 2, 1)
        self.up = nn.Upsample(scale_factor=2)
        self.distances = nn.Conv2d(8, 4 * BINS, 1)
        self.classes = nn.Conv2d(8, CLASSES, 1)

    def forward(self, images: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Distance and class logits by level."""
        fine = self.stem(images)
        coarse = self.down(fine)
        return [(self.distances(level), self.classes(level)) for level in (fine + self.up(coarse), coarse)]

    def decode(self, raw: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Boxes [B, N, 4] xyxy and probabilities [B, N, C]."""
        boxes, scores = [], []
        for stride, (distances, classes) in zip(STRIDES, raw, strict=True):
            rows, columns = distances.shape[2:]
            y, x = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij")
            points = torch.stack([x.flatten(), y.flatten()], -1)
            bins = torch.arange(float(BINS)).view(1, 1, BINS, 1)
            sides = (distances.reshape(-1, 4, BINS, rows * columns).softmax(2) * bins).sum(2).transpose(1, 2)
            boxes.append(torch.cat([points - sides[..., :2], points + sides[..., 2:]], -1) * stride)
            scores.append(classes.flatten(2).transpose(1, 2).sigmoid())
        return torch.cat(boxes, 1), torch.cat(scores, 1)
