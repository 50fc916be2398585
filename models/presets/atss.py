"""ATSS's loss as mmdet 3.3 computes it (`ATSSHead.loss_by_feat`).

Zhang et al., CVPR 2020, arXiv:1912.02424.
"""

from functools import partial

from posneg.models.presets import preset
from posneg.models.recipe import Recipe, TermRecipe


@preset
def atss(columns: frozenset[str]) -> Recipe:  # noqa: ARG001 - the terms are the same for every head
    """Anchors whose IoU exceeds what is usual among the nearest ones of each level.

    Classification (focal loss) and centerness count each image's positives, at least one. Box: generalised
    IoU in pixels, weighted by centerness and over its sum (2).
    """
    per_positive = partial(TermRecipe, normalizer="positives_per_image")
    return Recipe(
        preset="atss",
        assigner="atss",
        assigner_options={"flavor": "mmdet"},
        terms={
            "classification": per_positive(loss="focal", options={"flavor": "mmdet"}),
            "box": TermRecipe(
                loss="giou",
                options={"flavor": "mmdet"},
                weight=2.0,
                weighted_by="centerness",
                normalizer="centerness",
            ),
            "centerness": per_positive(loss="centerness"),
        },
        flavor="mmdet",
        point_offset=0.0,
        delta_scale=(0.1, 0.2),
        bounded_deltas=True,
    )
