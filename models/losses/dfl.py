"""Distribution focal loss: cross-entropy with the two bins around a distance.

Li et al., Generalized Focal Loss, NeurIPS 2020, arXiv:2006.04388, equation 6.
"""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from posneg.models.losses import loss

SEMANTICS = 1


@loss("distribution")
def dfl(
    logits: Float[Tensor, "P 4 R"],
    distance: Float[Tensor, "P 4"],
    *,
    flavor: Literal["ultralytics", "mmdet", "ppdet"] = "ultralytics",
) -> Float[Tensor, "P 4"]:
    """-(l + 1 - y) ln p_l - (y - l) ln p_(l+1), l the bin below the distance y; one value a side.

    `ultralytics` and `ppdet` take the mean of the sides and clamp y to the bins (at most R - 1 - 0.01), so
    their four values sum to that mean; `mmdet` clamps nothing that its bins can hold, and sums the sides.
    """
    last = logits.shape[-1] - 1
    distance = distance.clamp(0, last if flavor == "mmdet" else last - 0.01)
    below = distance.floor().clamp(max=last - 1)
    share = distance - below
    log_p = logits.log_softmax(-1)
    lower = log_p.gather(-1, below.long()[..., None])[..., 0]
    upper = log_p.gather(-1, below.long()[..., None] + 1)[..., 0]
    value = -(1 - share) * lower - share * upper
    return value if flavor == "mmdet" else value / 4
