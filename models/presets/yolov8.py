"""YOLOv8's loss as ultralytics logs it (ultralytics 8.4, `v8DetectionLoss`; not multiplied by the batch size)."""

from posneg.models.presets import preset
from posneg.models.recipe import Recipe, TermRecipe


@preset
def yolov8(columns: frozenset[str]) -> Recipe:
    """Task-aligned assignment (top 10, alpha 0.5, beta 6), then each term over the sum of the targets.

    Classification: binary cross-entropy with the normalised metric as target (gain 0.5). Box: complete IoU in stride
    units (7.5). Sides: distribution focal loss (1.5), or L1 of the distances for a head without bins.
    """
    shared = {"normalizer": "target_scores", "weighted_by_target": True}
    sides = TermRecipe(loss="dfl", options={"flavor": "ultralytics"}, weight=1.5, **shared)
    if "ltrb" in columns and "dfl" not in columns:
        sides = TermRecipe(loss="l1", weight=1.5, compared="ltrb", unit="image", **shared)
    return Recipe(
        preset="yolov8",
        assigner="task_aligned",
        assigner_options={"flavor": "ultralytics", "topk": 10, "alpha": 0.5, "beta": 6.0},
        terms={
            "box": TermRecipe(
                loss="ciou", options={"flavor": "ultralytics"}, weight=7.5, unit="stride", **shared
            ),
            "classification": TermRecipe(
                loss="binary_cross_entropy", weight=0.5, normalizer="target_scores", target="metric"
            ),
            sides.loss: sides,
        },
        flavor="ultralytics",
    )
