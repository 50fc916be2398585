"""Efficient IoU loss: overlap, distance of the centres, and differences of width and height.

Zhang et al., arXiv:2101.08158, equations 5 and 8. mmdet ships another loss, Extended IoU, under this name
(Peng and Yu, IEEE TIP 2021, "A Systematic IoU-Related Method"): that is flavor `mmdet`.
"""

from typing import Annotated, Literal

import torch
from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor

from posneg.models import boxes
from posneg.models.losses import loss

SEMANTICS = 1
SMOOTH_POINT = 0.1


@loss("overlap")
def eiou(
    prediction: Float[Tensor, "P 4"],
    target: Float[Tensor, "P 4"],
    *,
    flavor: Literal["paper", "mmdet"] = "paper",
    gamma: Annotated[float, Ge(0)] = 0.0,
) -> Float[Tensor, "P"]:
    """1 - IoU + (distance / diagonal of the hull)² + (Δw / hull width)² + (Δh / hull height)².

    `gamma` above 0 is its focal form, times IoU^gamma held constant for the gradient. Terms of a hull without
    extent are 0. `mmdet` has neither `gamma` nor these terms: e²/0.2 below 0.1 and e - 0.05 above, where e is
    1 - IoU with an intersection that is negative for boxes apart.
    """
    if flavor == "mmdet":
        return _extended(prediction, target)
    hull = boxes.hull_extents(prediction, target)
    sides = zip(boxes.extents(prediction), boxes.extents(target), hull, strict=True)
    overlap = boxes.iou(prediction, target)
    value = (
        1 - overlap + _share(boxes.center_distance_squared(prediction, target), hull[0] ** 2 + hull[1] ** 2)
    )
    for ours, true, extent in sides:
        value = value + _share((ours - true) ** 2, extent**2)
    return value * overlap.detach() ** gamma if gamma else value


def _share(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole > 0, part / torch.where(whole > 0, whole, 1), 0)


def _extended(prediction: Tensor, target: Tensor) -> Tensor:
    """The intersection is measured from the hull's corner, and signed: boxes apart have a gradient too."""
    corner = torch.minimum(prediction[:, :2], target[:, :2])
    low = torch.maximum(prediction[:, :2], target[:, :2]) - corner
    high = torch.minimum(prediction[:, 2:], target[:, 2:]) - corner
    least, most = torch.minimum(low, high), torch.maximum(low, high)
    signed = high.prod(-1) + least.prod(-1) - low[:, 0] * most[:, 1] - most[:, 0] * low[:, 1]
    union = boxes.area(prediction) + boxes.area(target) - signed + 1e-7
    error = 1 - signed / union
    small = (error < SMOOTH_POINT).detach()
    return torch.where(small, error**2 / (2 * SMOOTH_POINT), error - SMOOTH_POINT / 2)
