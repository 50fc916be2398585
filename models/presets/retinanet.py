"""RetinaNet's loss as torchvision computes it (torchvision 0.28, `RetinaNet.compute_loss`).

Lin et al., ICCV 2017, arXiv:1708.02002.
"""

from functools import partial

from posneg.models.presets import preset
from posneg.models.recipe import Recipe, TermRecipe


@preset
def retinanet(columns: frozenset[str]) -> Recipe:  # noqa: ARG001 - the terms are the same for every head
    """Anchors of IoU 0.5 and more are positive, below 0.4 negative; each term over its image's positives.

    Classification: focal loss. Box: L1 of the offsets from the anchors; an overlap loss in its place compares
    decoded boxes. The mean over images is the loss.
    """
    per_image = partial(TermRecipe, normalizer="positives", scope="image")
    return Recipe(
        preset="retinanet",
        assigner="max_iou",
        assigner_options={"flavor": "torchvision", "positive_iou": 0.5, "negative_iou": 0.4},
        terms={
            "classification": per_image(
                loss="focal", options={"flavor": "torchvision", "alpha": 0.25, "gamma": 2.0}
            ),
            "box": per_image(loss="l1", compared="deltas"),
        },
        flavor="torchvision",
    )
