"""The textbook's loss: scores to raise where a box is found and to lower elsewhere, boxes to move."""

from posneg.models.presets import preset
from posneg.models.recipe import Recipe, TermRecipe


@preset
def textbook(columns: frozenset[str]) -> Recipe:  # noqa: ARG001 - boxes and scores are all it needs
    """Task-aligned assignment over all predictions with a floor on IoU; nothing is divided.

    Positives pay -ln p for their class, negatives -ln(1 - p), and positives alone smooth L1 in pixels, summed
    over the four coordinates.
    """
    return Recipe(
        preset="textbook",
        assigner="task_aligned",
        assigner_options={"flavor": "mmdet", "alpha": 1.0, "beta": 6.0, "candidates": "all", "min_iou": 0.5},
        terms={
            "classification": TermRecipe(loss="binary_cross_entropy"),
            "box": TermRecipe(loss="smooth_l1", options={"beta": 1.0}),
        },
    )
