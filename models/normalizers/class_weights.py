"""The sum of each row's class weight."""

from torch import Tensor

from posneg.models.normalizers import normalizer
from posneg.models.normalizers._tally import Tally


@normalizer
def class_weights(tally: Tally) -> Tensor:
    """Sum the weights of the rows' classes, background included, as DETR does."""
    return tally.over_predictions(tally.row_weights)
