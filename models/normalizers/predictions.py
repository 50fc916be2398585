"""The number of predictions that take part."""

from torch import Tensor

from posneg.models.normalizers import normalizer
from posneg.models.normalizers._tally import Tally


@normalizer
def predictions(tally: Tally) -> Tensor:
    """Count positives and negatives."""
    return tally.over_predictions(~tally.assignment.ignored)
