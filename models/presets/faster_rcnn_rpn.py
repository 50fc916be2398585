"""The loss of Faster R-CNN's proposal network, as torchvision 0.28 computes it (`rpn.py`, `compute_loss`).

Ren et al., NeurIPS 2015, arXiv:1506.01497.
"""

from functools import partial

from posneg.models.presets import preset
from posneg.models.recipe import Recipe, TermRecipe


@preset
def faster_rcnn_rpn(columns: frozenset[str]) -> Recipe:  # noqa: ARG001 - the terms are the same for every head
    """Anchors of IoU 0.7 and more and each box's closest, against those below 0.3; classes play no part.

    256 anchors an image are drawn, at most half of them positive; both terms are over the number drawn.
    Objectness: binary cross-entropy. Box: smooth L1 (beta 1/9) of the offsets of the positives drawn.
    """
    per_drawn = partial(TermRecipe, normalizer="sampled")
    return Recipe(
        preset="faster_rcnn_rpn",
        assigner="max_iou",
        assigner_options={"flavor": "torchvision", "positive_iou": 0.7, "negative_iou": 0.3},
        terms={
            "objectness": per_drawn(loss="objectness", negatives={"name": "random"}),
            "box": per_drawn(loss="smooth_l1", options={"beta": 1 / 9}, compared="deltas"),
        },
        flavor="torchvision",
    )
