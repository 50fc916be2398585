"""The sum of the positives' classification targets."""

from torch import Tensor

from posneg.models.normalizers import normalizer
from posneg.models.normalizers._tally import Tally


@normalizer
def target_scores(tally: Tally) -> Tensor:
    """Sum the targets, as YOLOv8, TOOD and PP-YOLOE do."""
    return tally.over_predictions(tally.targets)
