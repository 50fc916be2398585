"""RTMDet's loss as mmdet 3.3 computes it (`RTMDetHead.loss_by_feat`).

Lyu et al., arXiv:2212.07784.
"""

from functools import partial

from posneg.models.presets import preset
from posneg.models.recipe import Recipe, TermRecipe


@preset
def rtmdet(columns: frozenset[str]) -> Recipe:  # noqa: ARG001 - the terms are the same for every head
    """Dynamic soft label assignment; both terms over the sum of the matches' IoU.

    Classification: quality focal loss against the IoU of the match. Box: generalised IoU in pixels,
    weighted by it (2).
    """
    per_target = partial(TermRecipe, normalizer="target_scores")
    return Recipe(
        preset="rtmdet",
        assigner="dynamic_soft_label",
        assigner_options={},
        terms={
            "classification": per_target(loss="quality_focal", target="iou"),
            "box": per_target(loss="giou", options={"flavor": "mmdet"}, weight=2.0, weighted_by="target"),
        },
        flavor="mmdet",
        point_offset=0.0,
    )
