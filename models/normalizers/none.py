"""No division."""

from torch import Tensor

from posneg.models.normalizers import normalizer
from posneg.models.normalizers._tally import Tally


@normalizer
def none(tally: Tally) -> Tensor:
    """Leave the sum as it is."""
    return tally.targets.new_ones(tally.batch.images if tally.by_image else 1)
