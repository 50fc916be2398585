"""From what a head emits to boxes, with gradients."""

import torch
from jaxtyping import Float
from torch import Tensor

from posneg.models.boxes import from_distances


def expected_distances(dfl: Float[Tensor, "*N 4 R"]) -> Float[Tensor, "*N 4"]:
    """Mean of each side's distribution over bins 0 … R - 1, in strides.

    Li et al., Generalized Focal Loss, NeurIPS 2020, arXiv:2006.04388, equation 5.
    """
    bins = torch.arange(dfl.shape[-1], dtype=dfl.dtype, device=dfl.device)
    return dfl.softmax(-1) @ bins


def boxes_from_dfl(
    dfl: Float[Tensor, "N 4 R"], points: Float[Tensor, "N 2"], strides: Float[Tensor, "N"]
) -> Float[Tensor, "N 4"]:
    """Boxes (xyxy, pixels) from logits over bins of left, top, right, bottom."""
    return boxes_from_ltrb(expected_distances(dfl), points, strides)


def boxes_from_ltrb(
    ltrb: Float[Tensor, "N 4"], points: Float[Tensor, "N 2"], strides: Float[Tensor, "N"]
) -> Float[Tensor, "N 4"]:
    """Boxes (xyxy, pixels) from distances left, top, right, bottom in strides."""
    return from_distances(points, ltrb * strides[:, None])


def boxes_from_raw(
    raw: Float[Tensor, "N 4"], points: Float[Tensor, "N 2"], strides: Float[Tensor, "N"]
) -> Float[Tensor, "N 4"]:
    """Boxes (xyxy, pixels) from YOLOX's (dx, dy, log w, log h) in strides, relative to the cell's corner.

    Ge et al., YOLOX, arXiv:2107.08430; `points` are the cell's centre.
    """
    stride = strides[:, None]
    center = points - stride / 2 + raw[:, :2] * stride
    half = raw[:, 2:].exp() * stride / 2
    return torch.cat([center - half, center + half], 1)
