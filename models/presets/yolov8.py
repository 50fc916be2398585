"""YOLOv8's loss as ultralytics 8.4 logs it (`v8DetectionLoss`, not multiplied by the batch size)."""

from functools import partial

from posneg.models.presets import preset
from posneg.models.recipe import Recipe, TermRecipe


@preset
def yolov8(columns: frozenset[str]) -> Recipe:
    """Task-aligned assignment (top 10, alpha 0.5, beta 6), then each term over the sum of the targets.

    Classification: binary cross-entropy with the normalised metric as target (gain 0.5). Box: complete IoU in
    stride units (7.5). Sides: distribution focal loss (1.5), or L1 of the distances for a head without bins.
    """
    per_target = partial(TermRecipe, normalizer="target_scores")
    sides = per_target(loss="dfl", options={"flavor": "ultralytics"}, weight=1.5, weighted_by="target")
    if "ltrb" in columns and "dfl" not in columns:
        sides = per_target(loss="l1", weight=1.5, weighted_by="target", compared="ltrb", unit="image")
    return Recipe(
        preset="yolov8",
        assigner="task_aligned",
        assigner_options={"flavor": "ultralytics", "topk": 10, "alpha": 0.5, "beta": 6.0},
        terms={
            "box": per_target(
                loss="ciou",
                options={"flavor": "ultralytics"},
                weight=7.5,
                weighted_by="target",
                unit="stride",
            ),
            "classification": per_target(loss="binary_cross_entropy", weight=0.5, target="metric"),
            sides.loss: sides,
        },
        flavor="ultralytics",
    )
