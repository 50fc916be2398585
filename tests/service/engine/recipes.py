"""Recipes without anchors as requests, and where to find every recipe: by the prefix of the file.

Gradients are by column, [image][row][...].
"""

from collections.abc import Callable

from tests.models import goldens
from tests.service.engine.cases import Case, Json, corners, envelope, gradient_of, losses_of, truth
from tests.service.engine.recipes_with_anchors import atss, faster_rcnn_rpn, fcos, queries, ssd


def tood(golden: Json) -> list[Case]:
    """Boxes in pixels, probabilities, points."""
    config, inputs, expected = golden["config"], golden["inputs"], golden["expected"]
    stride = config["stride"]
    images = [
        {
            "ground_truth": truth(one),
            "predictions": {
                "boxes": [[v * stride for v in box] for box in one["pred_boxes_stride_units"]],
                "scores": one["pred_probs"],
                "points": one["anchor_points"],
                "strides": [stride] * len(one["anchor_points"]),
            },
        }
        for one in inputs["images"]
    ]
    assigner = {k: config[k] for k in ("topk", "alpha", "beta")}
    found = losses_of(expected)
    boxes = gradient_of(expected, "pred_boxes_stride_units")
    return [
        Case(
            request=envelope("tood", inputs["num_classes"], images, assigner=assigner),
            terms={"classification": found["loss_cls"], "box": found["loss_bbox"]},
            gradients={
                "scores": gradient_of(expected, "pred_probs"),
                "box": [[[v / stride for v in row] for row in image] for image in boxes],
            },
        )
    ]


def ppyoloe(golden: Json) -> list[Case]:
    """Logits and distributions, coarse level first; a static phase brings ATSS."""
    config, inputs, expected = golden["config"], golden["inputs"], golden["expected"]
    bins = config["reg_max"] + 1
    images = [
        {
            "ground_truth": truth(one),
            "predictions": {
                "logits": one["cls_logits"],
                "dfl": goldens.tensor(one["reg_logits"], -1, 4, bins).tolist(),
                "points": inputs["anchor_points"],
                "strides": inputs["strides"],
            },
        }
        for one in inputs["images"]
    ]
    options = config["assigner_cfg"]
    if config["assigner"].startswith("ATSS"):
        side = options.get("anchor_scale", options.get("anchor_side"))
        assigner = {"name": "atss", "flavor": "ppdet", "topk": options["topk"], "anchor_scale": side}
    else:
        assigner = {k: options[k] for k in ("topk", "alpha", "beta")}
    found, weight = losses_of(expected), config["loss_weight"]
    if found is None:
        found = expected["losses"]
    return [
        Case(
            request=envelope("ppyoloe", inputs["num_classes"], images, assigner=assigner),
            terms={
                "classification": weight["cls"] * found["loss_cls"],
                "box": weight["iou"] * found["loss_iou"],
                "dfl": weight["dfl"] * found["loss_dfl"],
            },
            gradients={
                "logits": gradient_of(expected, "cls_logits"),
                "dfl": gradient_of(expected, "reg_logits"),
            },
        )
    ]


def yolov10(golden: Json) -> list[Case]:
    """One request a head."""
    config, inputs, expected = golden["config"], golden["inputs"], golden["expected"]
    size = [config["height"], config["width"]]
    scale = [size[1], size[0]] * 2
    cases = []
    for upstream, head in (("one2many", "one_to_many"), ("one2one", "one_to_one")):
        raw, found = inputs["heads"][upstream], expected["heads"][upstream]
        images = []
        for number, sides in enumerate(raw["pred_boxes_raw"]):
            rows = zip(inputs["batch_idx"], inputs["cls"], inputs["bboxes_cxcywh_norm"], strict=True)
            boxes = [
                {"box": corners([v * s for v, s in zip(box, scale, strict=True)]), "label": label}
                for image, label, box in rows
                if image == number
            ]
            predictions = {
                "dfl": goldens.tensor(sides, 4, config["reg_max"], -1).permute(2, 0, 1).tolist(),
                "logits": goldens.tensor(raw["pred_scores_raw"][number], config["nc"], -1).T.tolist(),
                "grid": {"strides": config["strides"]},
            }
            images.append({"size": size, "ground_truth": boxes, "predictions": predictions})
        assigner = {"alpha": config["tal_alpha"], "beta": config["tal_beta"]}
        count = len(images)
        sides = goldens.tensor(gradient_of(found, "pred_boxes_raw"), count, 4 * config["reg_max"], -1)
        scores = goldens.tensor(gradient_of(found, "pred_scores_raw"), count, config["nc"], -1)
        items = found["items_with_gain"]
        cases.append(
            Case(
                request=envelope("yolov10", config["nc"], images, assigner=assigner, head=head),
                terms={
                    "box": items["box_loss"],
                    "classification": items["cls_loss"],
                    "dfl": items["dfl_loss"],
                },
                gradients={
                    "dfl": (sides.transpose(1, 2) / count).tolist(),
                    "logits": (scores.transpose(1, 2) / count).tolist(),
                },
            )
        )
    return cases


def yolox(golden: Json) -> list[Case]:
    """Raw boxes and objectness; L1 where the upstream had it on."""
    config, inputs, expected = golden["config"], golden["inputs"], golden["expected"]
    points = [
        [(x + 0.5) * s, (y + 0.5) * s] for (x, y), s in zip(inputs["grid_xy"], inputs["strides"], strict=True)
    ]
    images = [
        {
            "ground_truth": [
                {"box": corners(row[1:]), "label": int(row[0])} for row in labels if sum(row) > 0
            ],
            "predictions": {
                "raw": raw,
                "objectness": [o[0] if isinstance(o, list) else o for o in objectness],
                "logits": logits,
                "points": points,
                "strides": inputs["strides"],
            },
        }
        for labels, raw, objectness, logits in zip(
            inputs["labels"],
            inputs["raw_boxes"],
            inputs["objectness_logits"],
            inputs["class_logits"],
            strict=True,
        )
    ]
    found = losses_of(expected)
    terms = {"box": found["iou_times_5"], "objectness": found["obj"], "classification": found["cls"]}
    loss = {"l1": {"weight": 1}} if config["use_l1"] else {}
    terms |= {"l1": found["l1"]} if config["use_l1"] else {}
    return [
        Case(
            request=envelope("yolox", inputs["num_classes"], images, loss=loss),
            terms=terms,
            gradients={
                "raw": gradient_of(expected, "raw_boxes"),
                "objectness": gradient_of(expected, "objectness_logits"),
                "logits": gradient_of(expected, "class_logits"),
            },
        )
    ]


def rtmdet(golden: Json) -> list[Case]:
    """Distances in pixels upstream, in strides here."""
    config, inputs, expected = golden["config"], golden["inputs"], golden["expected"]
    strides = [row[2] for row in inputs["priors_xy_stride"]]
    images = [
        {
            "ground_truth": truth(one),
            "predictions": {
                "points": [row[:2] for row in inputs["priors_xy_stride"]],
                "strides": strides,
                "ltrb": [
                    [v / s for v in row]
                    for row, s in zip(one["pred_distances_px_ltrb"], strides, strict=True)
                ],
                "logits": one["cls_logits"],
            },
        }
        for one in inputs["images"]
    ]
    assigner = {k: config["assigner"][k] for k in ("soft_center_radius", "topk", "iou_weight")}
    found = losses_of(expected)
    distances = gradient_of(expected, "pred_distances_px_ltrb")
    return [
        Case(
            request=envelope("rtmdet", inputs["num_classes"], images, assigner=assigner),
            terms={"classification": found["loss_cls"], "box": found["loss_bbox"]},
            gradients={
                "ltrb": [
                    [[v * s for v in row] for row, s in zip(image, strides, strict=True)]
                    for image in distances
                ],
                "logits": gradient_of(expected, "cls_logits"),
            },
        )
    ]


FAMILIES: dict[str, Callable[[Json], list[Case]]] = {
    "crit_tood_": tood,
    "crit_ppyoloe_": ppyoloe,
    "crit_yolov10_": yolov10,
    "crit_yolox_": yolox,
    "crit_fcos_": fcos,
    "crit_atss_": atss,
    "crit_rtmdet_": rtmdet,
    "crit_ssd_": ssd,
    "crit_faster_rcnn_rpn_": faster_rcnn_rpn,
    "crit_detr_": lambda golden: queries(golden, "detr"),
    "crit_rtdetr_": lambda golden: queries(golden, "rtdetr"),
    "crit_dfine_": lambda golden: queries(golden, "rtdetr", flavor="dfine"),
}
