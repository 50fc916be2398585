"""PP-YOLOE's loss as PaddleDetection computes it (`PPYOLOEHead.get_loss`); its logged L1 is left out.

Xu et al., arXiv:2203.16250. With `assigner: {"name": "atss", "flavor": "ppdet"}` it is the static phase.
"""

from functools import partial

from posneg.models.presets import preset
from posneg.models.recipe import Recipe, TermRecipe


@preset
def ppyoloe(columns: frozenset[str]) -> Recipe:  # noqa: ARG001 - the terms are the same for every head
    """Task-aligned assignment (top 13, alpha 1, beta 6); each term over the sum of the targets.

    Classification: varifocal loss on probabilities. Box: generalised IoU in stride units (2.5). Sides:
    distribution focal loss (0.5). The latter two are weighted by the target.
    """
    per_target = partial(TermRecipe, normalizer="target_scores")
    return Recipe(
        preset="ppyoloe",
        assigner="task_aligned",
        assigner_options={"flavor": "ppdet"},
        terms={
            "classification": per_target(loss="varifocal", options={"flavor": "ppdet"}, target="metric"),
            "box": per_target(
                loss="giou", options={"flavor": "ppdet"}, weight=2.5, weighted_by="target", unit="stride"
            ),
            "dfl": per_target(loss="dfl", options={"flavor": "ppdet"}, weight=0.5, weighted_by="target"),
        },
        flavor="ppdet",
    )
