"""The sum of the positives' centerness."""

from torch import Tensor

from posneg.models.normalizers import normalizer
from posneg.models.normalizers._tally import Tally


@normalizer
def centerness(tally: Tally) -> Tensor:
    """Sum the centerness targets, as ATSS does for its boxes."""
    return tally.over_predictions(tally.centerness)
