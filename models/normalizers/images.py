"""The number of images."""

from torch import Tensor

from posneg.models.normalizers import normalizer
from posneg.models.normalizers._tally import Tally


@normalizer
def images(tally: Tally) -> Tensor:
    """Count images."""
    return tally.over_images(tally.targets.new_ones(tally.batch.images))
