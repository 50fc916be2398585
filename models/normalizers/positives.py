"""The number of positive predictions."""

from torch import Tensor

from posneg.models.normalizers import normalizer
from posneg.models.normalizers._tally import Tally


@normalizer
def positives(tally: Tally) -> Tensor:
    """Count positives, as RetinaNet, FCOS and YOLOX do."""
    return tally.over_predictions(tally.assignment.positive)
