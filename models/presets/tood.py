"""TOOD's loss in its aligned phase, as mmdet 3.3 computes it (`TOODHead.loss_by_feat`).

Feng et al., ICCV 2021, arXiv:2108.07755.
"""

from functools import partial

from posneg.models.presets import preset
from posneg.models.recipe import Recipe, TermRecipe


@preset
def tood(columns: frozenset[str]) -> Recipe:  # noqa: ARG001 - the terms are the same for every head
    """Task-aligned assignment (top 13, alpha 1, beta 6); both terms over the sum of the aligned targets.

    Classification: quality focal loss. Box: generalised IoU in stride units, weighted by the target (2).
    """
    per_target = partial(TermRecipe, normalizer="target_scores")
    return Recipe(
        preset="tood",
        assigner="task_aligned",
        assigner_options={"flavor": "mmdet"},
        terms={
            "classification": per_target(loss="quality_focal", target="metric"),
            "box": per_target(
                loss="giou", options={"flavor": "mmdet"}, weight=2.0, weighted_by="target", unit="stride"
            ),
        },
        flavor="mmdet",
        point_offset=0.0,
    )
