"""FCOS's loss as torchvision 0.28 computes it (`FCOS.compute_loss`).

Tian et al., ICCV 2019, arXiv:1904.01355.
"""

from functools import partial

from posneg.models.presets import preset
from posneg.models.recipe import Recipe, TermRecipe


@preset
def fcos(columns: frozenset[str]) -> Recipe:  # noqa: ARG001 - the terms are the same for every head
    """Points near the middle of a box whose size suits their level; each term over the batch's positives.

    Classification: focal loss. Box: generalised IoU. Centerness: binary cross-entropy. All weights are 1.
    """
    per_positive = partial(TermRecipe, normalizer="positives")
    return Recipe(
        preset="fcos",
        assigner="center_sampling",
        assigner_options={"flavor": "torchvision"},
        terms={
            "classification": per_positive(loss="focal", options={"flavor": "torchvision"}),
            "box": per_positive(loss="giou", options={"flavor": "torchvision"}),
            "centerness": per_positive(loss="centerness"),
        },
        flavor="torchvision",
        point_offset=0.0,
        needs=frozenset({"strides"}),
    )
