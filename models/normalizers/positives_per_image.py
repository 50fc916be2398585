"""The number of positives, at least 1 for every image."""

from torch import Tensor

from posneg.models.normalizers import normalizer
from posneg.models.normalizers._tally import Tally


@normalizer
def positives_per_image(tally: Tally) -> Tensor:
    """Sum max(positives, 1) over images, as ATSS does."""
    return tally.over_images(tally.positives_by_image.clamp(min=1))
