"""The number of predictions that a sampler took."""

from torch import Tensor

from posneg.models.normalizers import normalizer
from posneg.models.normalizers._tally import Tally


@normalizer
def sampled(tally: Tally) -> Tensor:
    """Count what is not left out, as Faster R-CNN's proposal network does."""
    return tally.over_predictions(~tally.assignment.ignored)
