"""YOLOX's loss as its head computes it (`YOLOXHead.get_losses`).

Ge et al., arXiv:2107.08430.
"""

from functools import partial

from posneg.models.presets import preset
from posneg.models.recipe import Recipe, TermRecipe


@preset
def yolox(columns: frozenset[str]) -> Recipe:  # noqa: ARG001 - the terms are the same for every head
    """SimOTA; each term over the positives of the batch.

    Box: 1 - IoU² (5). Objectness over all predictions. Classification over positives alone, against the IoU
    of the match. L1 of the raw outputs joins once its weight is set, as in the upstream's last epochs.
    """
    per_positive = partial(TermRecipe, normalizer="positives")
    return Recipe(
        preset="yolox",
        assigner="simota",
        assigner_options={"flavor": "yolox"},
        terms={
            "box": per_positive(loss="iou", options={"mode": "square"}, weight=5.0),
            "objectness": per_positive(loss="objectness"),
            "classification": per_positive(loss="binary_cross_entropy", target="iou", positives_only=True),
            "l1": per_positive(loss="l1", compared="raw", weight=0.0, may_be_left_out=True),
        },
        flavor="yolox",
    )
