"""YOLOv10's loss, one head a time, as ultralytics 8.4 logs it (`E2EDetectLoss`).

Wang et al., NeurIPS 2024, arXiv:2405.14458. The upstream's loss is the sum of both heads.
"""

from dataclasses import replace
from typing import Literal

from posneg.models.presets import preset
from posneg.models.recipe import Recipe

TOPK = {"one_to_one": 1, "one_to_many": 10}


@preset
def yolov10(columns: frozenset[str], *, head: Literal["one_to_one", "one_to_many"] = "one_to_one") -> Recipe:
    """YOLOv8's terms, where each box takes one prediction (`one_to_one`) or ten (`one_to_many`)."""
    recipe = preset["yolov8"](columns)
    options = {**recipe.assigner_options, "topk": TOPK[head]}
    return replace(recipe, preset="yolov10", assigner_options=options)
