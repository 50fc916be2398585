"""Golden vectors sent as requests: what a caller gets is what the upstream computed."""

from typing import Any

import pytest

from tests.models import goldens
from tests.models.test_assigners import request as assigner_request
from tests.service.engine.asking import ask

Json = dict[str, Any]


def classes(count: int) -> list[str]:
    """Class names "0" … "C-1"."""
    return [str(n) for n in range(count)]


def truth(one: Json) -> list[Json]:
    """An image's ground truth, ignored boxes last."""
    boxes = [
        {"box": box, "label": label}
        for box, label in zip(one.get("gt_boxes") or [], one.get("gt_labels") or [], strict=True)
    ]
    return boxes + [{"box": box, "label": 0, "ignore": True} for box in one.get("ignore_boxes") or []]


def columns(one: Json, count: int) -> Json:
    """An image's predictions by column, as the contract names them."""
    names = {
        "pred_boxes": "boxes",
        "pred_logits": "logits",
        "anchor_points": "points",
        "strides": "strides",
        "priors": "anchors",
    }
    found = {ours: one[theirs] for theirs, ours in names.items() if theirs in one}
    if "logits" not in found:
        rows = len(found.get("boxes", found.get("anchors", [])))
        found["scores"] = one.get("pred_scores") or [[0.0] * count] * rows
    found.setdefault("boxes", found.get("anchors"))
    return found


@pytest.mark.parametrize("name", goldens.names("tal_", "maxiou_", "tvmatcher_"))
def test_assignments_are_the_upstreams(name: str) -> None:
    """States and matched boxes of every prediction, `index` by `index`."""
    golden = goldens.load(name)
    count = golden["inputs"]["num_classes"]
    which, options = assigner_request(golden)
    images = [
        {"id": n, "ground_truth": truth(one), "predictions": columns(one, count)}
        for n, one in enumerate(golden["inputs"]["images"])
    ]
    preset = "retinanet" if which == "max_iou" else "yolov8"

    assigner = {"name": which, **options}
    result = ask(
        {"images": images, "classes": classes(count), "preset": preset, "assigner": assigner}, loss=False
    )

    tied = {tuple(row) for row in golden["expected"].get("tie_dependent_rows", [])}
    for number, (ours, theirs) in enumerate(zip(result["images"], golden["expected"]["images"], strict=True)):
        for row, wanted in zip(ours["predictions"], theirs["matched_gt"], strict=True):
            got = row["ground_truth_index"] if row["state"] == "positive" else -1
            got = -2 if row["state"] == "ignored" else got
            if (number, got) not in tied and (number, wanted) not in tied:
                assert got == wanted, f"image {number}, prediction {row['index']}"


@pytest.mark.parametrize("grid", [True, False], ids=["grid", "points"])
@pytest.mark.parametrize("name", goldens.names("crit_v8_"))
def test_yolov8_is_ultralytics(name: str, grid: bool) -> None:
    """Terms and gradients of the raw head, its points sent or derived."""
    golden = goldens.load(name)
    config, inputs = golden["config"], golden["inputs"]
    bins, count = config["reg_max"], config["nc"]
    size = [config["height"], config["width"]]
    points, strides = goldens.grid(config["strides"], *size)
    scale = [size[1], size[0], size[1], size[0]]
    images = []
    for number, sides in enumerate(inputs["pred_boxes_raw"]):
        raw = goldens.tensor(sides, 4, bins, -1).permute(2, 0, 1)
        predictions: Json = {"dfl": raw.tolist()} if bins > 1 else {"ltrb": raw[..., 0].tolist()}
        predictions["logits"] = goldens.tensor(inputs["pred_scores_raw"][number], count, -1).T.tolist()
        located = {"points": points.tolist(), "strides": strides.tolist()}
        predictions |= {"grid": {"strides": config["strides"]}} if grid else located
        boxes = [
            {"box": centred([v * s for v, s in zip(box, scale, strict=True)]), "label": label}
            for image, label, box in zip(
                inputs["batch_idx"], inputs["cls"], inputs["bboxes_cxcywh_norm"], strict=True
            )
            if image == number
        ]
        images.append({"id": number, "size": size, "ground_truth": boxes, "predictions": predictions})
    assigner = {k: config[f"tal_{k}"] for k in ("topk", "topk2", "alpha", "beta")}
    loss = {"classification": {"class_weights": config["class_weights"]}} if config["class_weights"] else {}

    result = ask(
        {
            "images": images,
            "classes": classes(count),
            "preset": "yolov8",
            "assigner": assigner,
            "loss": loss,
            "gradients": True,
        }
    )

    sides_term, column = ("dfl", "dfl") if bins > 1 else ("l1", "ltrb")
    expected = golden["expected"]["losses"]["float64"]
    for ours, theirs in {"box": "box", "classification": "cls", sides_term: "dfl"}.items():
        assert result["terms"][ours]["value"] == pytest.approx(expected[theirs], rel=1e-5, abs=1e-9)
    for number, image in enumerate(result["images"]):
        raw = goldens.tensor(golden["expected"]["grad_pred_boxes_raw"][number], 4, bins, -1) / len(images)
        wanted = raw.permute(2, 0, 1).reshape(len(image["predictions"]), -1)
        scores = goldens.tensor(golden["expected"]["grad_pred_scores_raw"][number], count, -1).T / len(images)
        for row in image["predictions"]:
            got = goldens.tensor(row["gradient"][column], -1).tolist()
            assert got == pytest.approx(wanted[row["index"]].tolist(), rel=1e-4, abs=1e-6)
            assert row["gradient"]["logits"] == pytest.approx(
                scores[row["index"]].tolist(), rel=1e-4, abs=1e-6
            )


def centred(box: list[float]) -> list[float]:
    """Corners of a box given by centre and size."""
    x, y, width, height = box
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


@pytest.mark.parametrize("name", goldens.names("crit_retinanet_"))
def test_retinanet_is_torchvision(name: str) -> None:
    """Terms, the normalizer of each image, and gradients of offsets and logits."""
    golden = goldens.load(name)
    config, inputs, expected = golden["config"], golden["inputs"], golden["expected"]
    images = [
        {
            "id": number,
            "ground_truth": truth(one),
            "predictions": {
                "anchors": inputs["anchors"],
                "deltas": one["bbox_regression"],
                "logits": one["cls_logits"],
            },
        }
        for number, one in enumerate(inputs["images"])
    ]
    assigner = {
        "positive_iou": config["fg_iou_thresh"],
        "negative_iou": config["bg_iou_thresh"],
        "match_low_quality": config["allow_low_quality"],
    }

    result = ask(
        {
            "images": images,
            "classes": classes(inputs["num_classes"]),
            "preset": "retinanet",
            "assigner": assigner,
            "loss": {"box": {"name": config["bbox_loss"]}},
            "gradients": True,
        }
    )

    for ours, theirs in {"classification": "classification", "box": "bbox_regression"}.items():
        assert result["terms"][ours]["value"] == pytest.approx(expected["losses_float64"][theirs], rel=1e-5)
        assert len(result["terms"][ours]["normalizer"]["per_image"]) == len(images)
    for number, image in enumerate(result["images"]):
        assert len(image["predictions"]) == len(expected["images"][number]["matched_gt"])
        for row in image["predictions"]:
            for key, column in {"deltas": "bbox_regression", "logits": "cls_logits"}.items():
                wanted = (expected.get(f"grad64_{column}") or expected[f"grad_{column}"])[number]
                assert row["gradient"][key] == pytest.approx(wanted[row["index"]], rel=1e-4, abs=1e-6)
