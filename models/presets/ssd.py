"""SSD's loss as torchvision 0.28 computes it (`SSD.compute_loss`), the background last.

Liu et al., ECCV 2016, arXiv:1512.02325.
"""

from functools import partial

from posneg.models.presets import preset
from posneg.models.recipe import Recipe, TermRecipe


@preset
def ssd(columns: frozenset[str]) -> Recipe:  # noqa: ARG001 - the terms are the same for every head
    """Anchors of IoU 0.5 and more, and each box's closest; both terms over the positives of the batch.

    Classification: softmax cross-entropy of positives and the three times as many hardest negatives. Box:
    smooth L1 of the offsets.
    """
    per_positive = partial(TermRecipe, normalizer="positives")
    return Recipe(
        preset="ssd",
        assigner="max_iou",
        assigner_options={
            "flavor": "mmdet",
            "positive_iou": 0.5,
            "negative_iou": 0.5,
            "assign_all_ties": False,
        },
        terms={
            "classification": per_positive(
                loss="cross_entropy", negatives={"name": "hard_mining", "ratio": 3.0}
            ),
            "box": per_positive(loss="smooth_l1", compared="deltas"),
        },
        flavor="torchvision",
        delta_scale=(0.1, 0.2),
    )
