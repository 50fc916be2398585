"""RT-DETR's loss for its last layer, as transformers computes it; with flavor `dfine`, D-FINE's.

Zhao et al., CVPR 2024, arXiv:2304.08069. Auxiliary layers and denoising groups are further requests.
"""

from functools import partial

from posneg.models.presets import preset
from posneg.models.recipe import Recipe, TermRecipe


@preset
def rtdetr(columns: frozenset[str]) -> Recipe:  # noqa: ARG001 - the terms are the same for every head
    """The matching of least cost, one prediction a box; each term over the number of boxes.

    Classification: varifocal loss against the IoU of the match. L1 of centres and sizes in units of the
    image (5), and generalised IoU (2).
    """
    per_box = partial(TermRecipe, normalizer="ground_truth")
    return Recipe(
        preset="rtdetr",
        assigner="hungarian",
        assigner_options={"flavor": "rtdetr"},
        terms={
            "classification": per_box(loss="varifocal", options={"flavor": "rtdetr"}, target="iou"),
            "l1": per_box(loss="l1", compared="centered", unit="image", weight=5.0),
            "giou": per_box(loss="giou", options={"flavor": "ppdet"}, unit="image", weight=2.0),
        },
        needs=frozenset({"size"}),
    )
