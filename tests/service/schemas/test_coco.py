"""COCO pairs as they are in the world."""

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest

from posneg.service.errors import InvalidRequest
from posneg.service.schemas.loss_input import LossInput
from posneg.service.schemas.losses import parse
from tests.service.schemas.requests import COCO, Json, changed, faults, outcome, read

TRUTH = ("coco", "ground_truth")
RESULTS = ("coco", "predictions")


def codes(found: LossInput) -> list[str]:
    """The codes of the notices, in order."""
    return [notice.code for notice in found.notices]


def results_as_dataset(**changes: Any) -> Json:
    """The pair with its results as a data set, by default with the ground truth's images and categories."""
    truth = copy.deepcopy(COCO["coco"]["ground_truth"])
    dataset = {"images": truth["images"], "categories": truth["categories"]}
    return changed(COCO, RESULTS, {**dataset, "annotations": COCO["coco"]["predictions"], **changes})


def test_a_pair_comes_out_image_by_image() -> None:
    """Sparse ids, id 0, crowds, the order of the files; boxes stay xywh."""
    found = read(COCO)
    first, second = found.images

    assert found.classes == ["toothbrush", "person"]
    assert found.box_format == "xywh"
    assert (first.id, first.size) == (7, (100.0, 200.0))
    assert (second.id, second.size) == (0, (50.0, 60.0))
    assert second.ground_truth.ids == [11, 13]
    assert second.ground_truth.labels.tolist() == [0, 1]
    assert second.ground_truth.ignore.tolist() == [True, False]
    assert second.ground_truth.boxes.tolist() == [[1, 2, 3, 4], [0, 0, 9, 9]]
    assert second.predictions.columns["scores"].tolist() == [[0, 0.9]]
    assert first.predictions.labels is not None
    assert first.predictions.labels.tolist() == [0]
    assert first.predictions.ids == [None]
    assert found.notices == []


def test_strings_and_numbers_are_one_id_and_it_is_told() -> None:
    """A string that spells a number is that number, for images and categories, zero-padded too."""
    request = changed(COCO, (*RESULTS, 0, "image_id"), "000000000000")
    request = changed(request, (*TRUTH, "categories", 0, "id"), "90")

    found = read(request)

    assert [image.predictions.count for image in found.images] == [1, 1]
    assert codes(found) == ["ID_TYPE_MISMATCH"] * 3
    assert found.notices[0].pointer == "/coco/ground_truth/annotations/0/category_id"


def test_ids_that_differ_only_in_type_stay_apart_where_both_exist() -> None:
    """Image 7 and image "7" are two."""
    twin = {"id": "7", "file_name": "c.jpg"}
    request = changed(COCO, (*TRUTH, "images"), [*COCO["coco"]["ground_truth"]["images"], twin])
    request = changed(request, (*RESULTS, 0, "image_id"), "7")

    found = read(request)

    assert [(image.id, image.predictions.count) for image in found.images] == [(7, 1), (0, 0), ("7", 1)]
    assert found.notices == []


def test_ids_written_with_a_decimal_point_are_whole_numbers() -> None:
    """Tables that once held a gap write 7.0."""
    request = changed(COCO, (*RESULTS, 1, "image_id"), 7.0)

    assert read(request).images[0].predictions.count == 1


def test_results_for_what_is_unknown_are_told_with_their_number() -> None:
    """Left out, never silently: how many, which ids, where the first one stands."""
    unknown = [{"image_id": n, "category_id": 0, "bbox": [0, 0, 1, 1], "score": 0.5} for n in range(100, 120)]
    other = {"image_id": 7, "category_id": 5, "bbox": [0, 0, 1, 1], "score": 0.5}
    found = read(changed(COCO, RESULTS, [*COCO["coco"]["predictions"], *unknown, other]))

    image, category = found.notices

    assert sum(i.predictions.count for i in found.images) == 2
    assert (image.code, image.pointer) == ("UNKNOWN_IMAGE", "/coco/predictions/2/image_id")
    assert image.detail.startswith("20 results")
    assert "100, 101, 102" in image.detail
    assert (category.code, category.pointer) == ("UNKNOWN_CATEGORY", "/coco/predictions/22/category_id")


def test_duplicate_annotation_ids_leave_indices() -> None:
    """The others keep theirs."""
    request = changed(COCO, (*TRUTH, "annotations", 1, "id"), 13)

    found = read(request)

    assert codes(found) == ["DUPLICATE_ID"]
    assert [image.ground_truth.ids for image in found.images] == [[None], [11, None]]


def test_results_as_a_data_set_join_on_names() -> None:
    """Images of one file name and categories of one name are the same, whatever their ids."""
    images = [
        {"id": 1, "file_name": "b.jpg"},
        {"id": 2, "file_name": "a.jpg"},
        {"id": 3, "file_name": "z.jpg"},
    ]
    categories = [{"id": 1, "name": "person"}, {"id": 2, "name": "toothbrush"}]
    annotations = [
        {"image_id": 1, "category_id": 2, "bbox": [0, 0, 1, 1], "score": 0.5},
        {"image_id": 3, "category_id": 2, "bbox": [0, 0, 1, 1], "score": 0.5},
    ]
    found = read(results_as_dataset(images=images, categories=categories, annotations=annotations))

    assert [image.predictions.count for image in found.images] == [0, 1]
    assert found.images[1].predictions.labels is not None
    assert found.images[1].predictions.labels.tolist() == [0]
    assert codes(found) == ["UNKNOWN_IMAGE", "JOINED_BY_NAME", "JOINED_BY_NAME"]
    assert "'z.jpg'" in found.notices[0].detail
    assert found.notices[0].pointer == "/coco/predictions/annotations/1/image_id"


@pytest.mark.parametrize("images", [[], [{"id": 0}, {"id": 7}], [{"id": 0, "file_name": "x"}] * 1])
def test_results_join_on_ids_where_a_file_lacks_names(images: list[Json]) -> None:
    """Names join only where every image of both files has one of its own."""
    found = read(results_as_dataset(images=images))

    joined = bool(images) and "file_name" in images[0]
    assert sum(image.predictions.count for image in found.images) == (0 if joined else 2)


def test_a_size_that_is_none_is_told() -> None:
    """A height of 0 is no size; none at all is no news."""
    request = changed(COCO, (*TRUTH, "images", 1), {"id": 0, "height": 0, "width": 60})
    request = changed(request, (*TRUTH, "images", 0), {"id": 7})

    found = read(request)

    assert [image.size for image in found.images] == [None, None]
    assert codes(found) == ["SIZE_UNKNOWN"]


def test_categories_of_one_name_are_told_apart() -> None:
    """By their ids, with a notice; one without a name is called by its id."""
    categories = [{"id": 0, "name": "cup"}, {"id": 90, "name": "cup"}, {"id": 5}]
    found = read(changed(COCO, (*TRUTH, "categories"), categories))

    assert found.classes == ["cup (0)", "cup (90)", "5"]
    assert codes(found) == ["DUPLICATE_CATEGORY_NAME"]


def test_listed_classes_order_the_categories() -> None:
    """With `classes`, categories are found by name; results of others are left out and told."""
    found = read({**COCO, "classes": ["ghost", "person", "toothbrush"]})
    narrow = changed({**COCO, "classes": ["person"]}, (*TRUTH, "annotations", 0, "category_id"), 0)

    assert found.classes == ["ghost", "person", "toothbrush"]
    assert found.images[1].ground_truth.labels.tolist() == [2, 1]
    assert codes(read(narrow)) == ["UNKNOWN_CATEGORY"]


def test_nothing_but_images_is_a_pair() -> None:
    """No annotations, no results."""
    found = read({"coco": {"ground_truth": {"images": [{"id": 1}], "annotations": [], "categories": []}}})

    assert found.images[0].predictions.count == 0
    assert len(found.images[0].ground_truth.labels) == 0


def fixtures() -> Path:
    """The folder of real COCO files; skips where it is not at hand."""
    root = os.environ.get("POSNEG_TEST_DATA")
    if not root:
        pytest.skip("POSNEG_TEST_DATA is not set: the real COCO files are not at hand")
    return Path(root) / "fixtures"


def pair(truth: str, results: str | None) -> bytes:
    """Two files as one request."""
    coco = {"ground_truth": json.loads((fixtures() / truth).read_text())}
    if results is not None:
        coco["predictions"] = json.loads((fixtures() / results).read_text())
    return json.dumps({"coco": coco}).encode()


VAL = "cocoapi_instances_val2014_fakebbox100_results.json"
REAL: list[tuple[str, str | None, tuple[int, int, int, int, int], list[str]]] = [
    ("fce_instances_val2014_100.json", VAL, (100, 839, 9, 734, 80), []),
    ("fce_gt_dataset.json", "fce_dt_dataset.json", (3, 9, 0, 9, 4), []),
    ("fce_gt_ignore_test.json", "fce_dt_ignore_test.json", (1, 14, 1, 63, 1), ["ID_TYPE_MISMATCH"] * 2),
    ("fce_lvis_val_100.json", None, (100, 977, 0, 0, 1230), ["FEDERATED_LABELS"]),
    ("hf39769_gt.json", "hf39769_dfine.json", (1, 6, 0, 4, 4), []),
    ("hf39769_gt.json", "hf39769_rtdetr_r50vd_default.json", (1, 6, 0, 4, 4), []),
    ("hf39769_gt.json", "hf39769_rtdetr_r50vd_cuda8.json", (1, 6, 0, 4, 4), []),
    ("hotcoco_gt.json", "hotcoco_dt.json", (3, 5, 0, 7, 2), []),
    ("hotcoco_edge_gt.json", "hotcoco_edge_dt.json", (6, 8, 1, 10, 3), []),
    ("hotcoco_zero_gt.json", "hotcoco_zero_dt.json", (2, 3, 0, 3, 1), []),
    ("hotcoco_healthcheck_quality.json", None, (1, 4, 0, 0, 1), []),
    ("rodm_coco_sampled_gt.json", "rodm_coco_sampled_results.json", (100, 830, 0, 734, 80), []),
    ("rodm_voc_gt_coco.json", "rodm_voc_dets_coco.json", (100, 273, 0, 452, 20), ["JOINED_BY_NAME"] * 2),
    (
        "rodm_voc_gt_coco.json",
        "rodm_toy_dets.json",
        (100, 273, 0, 2, 20),
        ["UNKNOWN_IMAGE", "JOINED_BY_NAME", "JOINED_BY_NAME"],
    ),
]


@pytest.mark.parametrize(("truth", "results", "counts", "told"), REAL, ids=lambda v: str(v)[:32])
def test_real_files_are_read_in_full(
    truth: str, results: str | None, counts: tuple[int, int, int, int, int], told: list[str]
) -> None:
    """Images, ground truth, crowds, results and classes are all there; what was reconciled is told."""
    found = parse(pair(truth, results))

    assert counts == (
        len(found.images),
        sum(len(image.ground_truth.labels) for image in found.images),
        sum(int(image.ground_truth.ignore.sum()) for image in found.images),
        sum(image.predictions.count for image in found.images),
        len(found.classes),
    )
    assert codes(found) == told


def test_a_broken_real_file_is_pointed_at() -> None:
    """Two images of one id, an annotation of no image and one of no category."""
    with pytest.raises(InvalidRequest) as caught:
        parse(pair("hotcoco_healthcheck_bad.json", None))

    assert [fault.pointer for fault in caught.value.faults] == [
        "/coco/ground_truth/images/1/id",
        "/coco/ground_truth/annotations/2/image_id",
        "/coco/ground_truth/annotations/3/category_id",
    ]


def test_every_pair_of_real_files_is_taken_or_refused_with_pointers() -> None:
    """Any file as ground truth with any other as results: a reading or a problem, never anything else."""
    names = sorted(path.name for path in fixtures().glob("*.json") if path.stat().st_size < 200_000)
    for truth in names:
        for results in names:
            error = outcome(pair(truth, results))
            assert error is None or all(fault.pointer.startswith("/coco") for fault in error.faults)


def test_results_as_ground_truth_are_refused() -> None:
    """The two swapped, as happens."""
    swapped = {"coco": {"ground_truth": COCO["coco"]["predictions"], "predictions": []}}

    assert faults(swapped) == {"/coco/ground_truth": "wrong_type"}
