"""DETR's loss for its last layer, as transformers computes it.

Carion et al., ECCV 2020, arXiv:2005.12872. Auxiliary layers are further requests.
"""

from functools import partial

from posneg.models.presets import preset
from posneg.models.recipe import Recipe, TermRecipe


@preset
def detr(columns: frozenset[str]) -> Recipe:  # noqa: ARG001 - the terms are the same for every head
    """The matching of least cost, one prediction a box.

    Classification: softmax cross-entropy, the background weighted 0.1, over the sum of the weights. L1 of
    centres and sizes in units of the image (5) and generalised IoU (2), over the number of boxes.
    """
    per_box = partial(TermRecipe, normalizer="ground_truth", unit="image")
    return Recipe(
        preset="detr",
        assigner="hungarian",
        assigner_options={"flavor": "detr"},
        terms={
            "classification": TermRecipe(
                loss="cross_entropy", options={"background_weight": 0.1}, normalizer="class_weights"
            ),
            "l1": per_box(loss="l1", compared="centered", weight=5.0),
            "giou": per_box(loss="giou", options={"flavor": "ppdet"}, weight=2.0),
        },
        needs=frozenset({"size"}),
    )
