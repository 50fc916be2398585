"""The number of ground truths, ignored ones left out."""

from torch import Tensor

from posneg.models.normalizers import normalizer
from posneg.models.normalizers._tally import Tally


@normalizer
def ground_truth(tally: Tally) -> Tensor:
    """Count ground truth, matched or not, as DETR does."""
    return tally.over_ground_truth(~tally.batch.ground_truth.ignore)
