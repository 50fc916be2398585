"""Recipes with anchors, and sets of queries, as requests. Gradients are by column, [image][row][...]."""

from typing import Any

from tests.service.engine.cases import Case, Json, envelope, gradient_of, losses_of, truth


def fcos(golden: Json) -> list[Case]:
    """Distances in strides, measured from anchors on the cells' corners."""
    config, inputs, expected = golden["config"], golden["inputs"], golden["expected"]
    levels = zip(config["strides"], config["num_anchors_per_level"], strict=True)
    strides = [stride for stride, number in levels for _ in range(number)]
    images = [
        {
            "ground_truth": truth(one),
            "predictions": {
                "anchors": inputs["anchors"],
                "strides": strides,
                "ltrb": one["bbox_regression"],
                "logits": one["cls_logits"],
                "centerness": [c[0] if isinstance(c, list) else c for c in one["bbox_ctrness"]],
            },
        }
        for one in inputs["images"]
    ]
    found = losses_of(expected)
    return [
        Case(
            request=envelope(
                "fcos",
                inputs["num_classes"],
                images,
                assigner={"radius": config["center_sampling_radius"]},
            ),
            terms={
                "classification": found["classification"],
                "box": found["bbox_regression"],
                "centerness": found["bbox_ctrness"],
            },
            gradients={
                "ltrb": gradient_of(expected, "bbox_regression"),
                "logits": gradient_of(expected, "cls_logits"),
                "centerness": gradient_of(expected, "bbox_ctrness"),
            },
        )
    ]


def atss(golden: Json) -> list[Case]:
    """Offsets from anchors, in tenths and fifths."""
    config, inputs, expected = golden["config"], golden["inputs"], golden["expected"]
    levels = zip(config["strides"], inputs["num_level"], strict=True)
    strides = [stride for stride, number in levels for _ in range(number)]
    images = [
        {
            "ground_truth": truth(one),
            "predictions": {
                "anchors": inputs["anchors"],
                "strides": strides,
                "deltas": one["bbox_deltas"],
                "logits": one["cls_logits"],
                "centerness": one["centerness_logits"],
            },
        }
        for one in inputs["images"]
    ]
    found = losses_of(expected)
    return [
        Case(
            request=envelope(
                "atss", inputs["num_classes"], images, assigner={"topk": config["assigner_topk"]}
            ),
            terms={
                "classification": found["loss_cls"],
                "box": found["loss_bbox"],
                "centerness": found["loss_centerness"],
            },
            gradients={
                "deltas": gradient_of(expected, "bbox_deltas"),
                "logits": gradient_of(expected, "cls_logits"),
                "centerness": gradient_of(expected, "centerness_logits"),
            },
        )
    ]


def ssd(golden: Json) -> list[Case]:
    """The background's column moved from the front to the end."""
    config, inputs, expected = golden["config"], golden["inputs"], golden["expected"]
    images = [
        {
            "ground_truth": truth(one, shift=1),
            "predictions": {
                "anchors": inputs["anchors"],
                "deltas": one["bbox_regression"],
                "logits": [row[1:] + row[:1] for row in one["cls_logits"]],
            },
        }
        for one in inputs["images"]
    ]
    threshold = config["iou_thresh"]
    mining = {"name": "hard_mining", "ratio": config["neg_to_pos_ratio"]}
    logits = gradient_of(expected, "cls_logits")
    found = losses_of(expected)
    return [
        Case(
            request=envelope(
                "ssd",
                config["num_classes_incl_background"] - 1,
                images,
                assigner={"positive_iou": threshold, "negative_iou": threshold},
                loss={"classification": {"negatives": mining}},
            ),
            terms={"classification": found["classification"], "box": found["bbox_regression"]},
            gradients={
                "deltas": gradient_of(expected, "bbox_regression"),
                "logits": [[row[1:] + row[:1] for row in image] for image in logits],
            },
        )
    ]


def faster_rcnn_rpn(golden: Json) -> list[Case]:
    """One class, objectness, and the upstream's draw."""
    config, inputs, expected = golden["config"], golden["inputs"], golden["expected"]
    images = [
        {
            "ground_truth": [{"box": box, "label": 0} for box in one["gt_boxes"]],
            "predictions": {
                "anchors": inputs["anchors"],
                "deltas": one["bbox_deltas"],
                "objectness": [o[0] if isinstance(o, list) else o for o in one["objectness_logits"]],
                "sampled": sorted(one["sampled_positive"] + one["sampled_negative"]),
            },
        }
        for one in inputs["images"]
    ]
    assigner = {
        "positive_iou": config["fg_iou_thresh"],
        "negative_iou": config["bg_iou_thresh"],
        "match_low_quality": config["allow_low_quality"],
    }
    found = losses_of(expected)
    return [
        Case(
            request=envelope("faster_rcnn_rpn", 1, images, assigner=assigner),
            terms={"objectness": found["objectness"], "box": found["rpn_box_reg"]},
            gradients={
                "deltas": gradient_of(expected, "bbox_deltas"),
                "objectness": gradient_of(expected, "objectness_logits"),
            },
        )
    ]


def queries(golden: Json, preset: str, **assigner: Any) -> list[Case]:
    """A set of queries on an image of size 1 × 1."""
    inputs, expected = golden["inputs"], golden["expected"]
    images = [
        {
            "size": [1, 1],
            "ground_truth": truth(one, key="gt_boxes_cxcywh_norm"),
            "predictions": {"boxes": one["pred_boxes_cxcywh_norm"], "logits": one["pred_logits"]},
        }
        for one in inputs["images"]
    ]
    found = losses_of(expected)
    weighted = preset == "rtdetr" and not assigner
    l1, giou = (1, 1) if weighted else (5, 2)
    classification = found["loss_ce"] if "loss_ce" in found else found["loss_vfl"]
    return [
        Case(
            request=envelope(preset, inputs["num_classes"], images, assigner=assigner, box_format="cxcywh"),
            terms={
                "classification": classification,
                "l1": l1 * found["loss_bbox"],
                "giou": giou * found["loss_giou"],
            },
            gradients={
                "box": gradient_of(expected, "pred_boxes"),
                "logits": gradient_of(expected, "logits"),
            },
        )
    ]
