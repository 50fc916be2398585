"""Criterion vectors as requests: what to send, the terms and the gradients that must come back.

One function a family of files, found by the prefix of the file. Gradients are by column, [image][row][...].
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.models import goldens

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One request, and what the upstream computed for it."""

    request: Json
    terms: dict[str, float]
    gradients: dict[str, Any] = field(default_factory=dict)


def losses_of(expected: Json) -> Json:
    """The terms in float64 where they are, else in float32."""
    return expected.get("losses_float64") or expected["losses"]


def gradient_of(expected: Json, name: str) -> Any:
    """A gradient in float64 where it is, else in float32."""
    return expected.get(f"grad64_{name}") or expected[f"grad_{name}"]


def truth(one: Json, *, shift: int = 0, key: str = "gt_boxes") -> list[Json]:
    """An image's ground truth, labels counted from `shift`."""
    labels = one.get("gt_labels") or [shift] * len(one[key])
    return [{"box": box, "label": label - shift} for box, label in zip(one[key], labels, strict=True)]


def envelope(preset: str, classes: int, images: list[Json], **rest: Any) -> Json:
    """The request around images, with gradients asked for."""
    names = [str(n) for n in range(classes)]
    numbered = [{"id": n, **image} for n, image in enumerate(images)]
    return {"images": numbered, "classes": names, "preset": preset, "gradients": True, **rest}


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


def corners(box: list[float]) -> list[float]:
    """Corners of a box given by centre and size."""
    x, y, width, height = box
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


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
