"""COCO files as they are, over HTTP: a loss that accounts for every box, or a problem with pointers."""

import json
import tempfile
from pathlib import Path

import httpx

from benchmarks.acceptance.outcome import passed, require, test_data
from tests.conftest import launch

MESSY = (
    ("fce_gt_dataset", "fce_dt_dataset"),
    ("fce_gt_ignore_test", "fce_dt_ignore_test"),
    ("fce_lvis_val_100", "hotcoco_dt"),
    ("hf39769_gt", "hf39769_dfine"),
    ("hf39769_gt", "hf39769_rtdetr_r50vd_default"),
    ("hotcoco_edge_gt", "hotcoco_edge_dt"),
    ("hotcoco_gt", "hotcoco_dt"),
    ("hotcoco_healthcheck_bad", "hotcoco_dt"),
    ("hotcoco_healthcheck_quality", "hotcoco_dt"),
    ("hotcoco_zero_gt", "hotcoco_zero_dt"),
    ("rodm_coco_sampled_gt", "rodm_coco_sampled_results"),
    ("rodm_voc_gt_coco", "rodm_voc_dets_coco"),
    ("rodm_voc_gt_coco", "rodm_toy_dets"),
)


def check(url: str, fixtures: Path) -> None:
    """The clean pair under each preset, then the messy ones."""

    def ask(truth: str, predictions: str, preset: str) -> httpx.Response:
        files = {
            "ground_truth": json.loads((fixtures / f"{truth}.json").read_text()),
            "predictions": json.loads((fixtures / f"{predictions}.json").read_text()),
        }
        return httpx.post(f"{url}/v1/losses", json={"coco": files, "preset": preset}, timeout=60)

    clean = "fce_instances_val2014_100", "cocoapi_instances_val2014_fakebbox100_results"
    boxes = len(json.loads((fixtures / f"{clean[0]}.json").read_text())["annotations"])
    for preset in ("textbook", "yolov8", "retinanet"):
        result = ask(*clean, preset).raise_for_status().json()
        states = [row["state"] for image in result["images"] for row in image["ground_truth"]]
        require(len(states) == boxes, f"val2014 under {preset}: every box is accounted for", len(states))
        passed(f"val2014, 100 images, {preset}", f"total {result['total']:.6f}, {boxes} boxes accounted for")
    for truth, predictions in MESSY:
        answer = ask(truth, predictions, "textbook")
        body = answer.json()
        told = answer.status_code == 200 or (answer.status_code == 422 and bool(body.get("errors")))
        require(told, f"{truth} with {predictions}", answer.text[:300])
        seen = f"total {body['total']}" if answer.status_code == 200 else f"{len(body['errors'])} pointers"
        passed(f"{truth} with {predictions}", f"{answer.status_code}, {seen}")


if __name__ == "__main__":
    inputs = test_data("fixtures")
    with tempfile.TemporaryDirectory() as folder:
        server = launch(Path(folder))
        try:
            check(server.url, inputs)
        finally:
            server.stop()
