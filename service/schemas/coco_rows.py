"""Annotations and results of COCO files as columns, each row led to its image and its category."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from posneg.service.schemas.coco_tables import Entries, Lookup, Tally, read_id
from posneg.service.schemas.elements import Elements, is_id, objects, probability
from posneg.service.schemas.faults import Faults, given, shown
from posneg.service.schemas.loss_input import Floats, Integers, Notice
from posneg.service.schemas.numbers import boxes

TRUTH, RESULTS = "/coco/ground_truth", "/coco/predictions"


@dataclass(frozen=True, slots=True)
class Rows:
    """Annotations or results that found their image and category, in the order of the file."""

    image: Integers
    category: Integers
    boxes: Floats
    ids: list[str | int | None]
    extra: Floats  # crowd flag, or score


def truth_rows(
    value: Any,  # noqa: ANN401 - any JSON value
    images: Entries,
    categories: Entries,
    numbers: list[int | None],
    faults: Faults,
) -> tuple[Rows, list[Notice]]:
    """Every annotation; one of an unknown image or category could not be accounted for, and is a fault."""
    annotations = objects(value, f"{TRUTH}/annotations", None, faults)
    find_image, find_category = Lookup(images), Lookup(categories)
    image, category, crowd = [], [], []
    for at, annotation in annotations:
        image.append(_row(annotation, "image_id", find_image, at, faults) or 0)
        row = _row(annotation, "category_id", find_category, at, faults)
        number = 0 if row is None else numbers[row]
        if number is None:
            detail = f"category {shown(annotation['category_id'])} is not in the request's `classes`"
            faults.add(f"{at}/category_id", detail, "unknown_class")
        category.append(number or 0)
        crowd.append(_crowd(annotation, at, faults))
    ids, duplicates = _ids(annotations)
    rows = Rows(
        np.array(image, dtype=np.int64),
        np.array(category, dtype=np.int64),
        _boxes(annotations, faults),
        ids,
        np.array(crowd, dtype=np.float64),
    )
    return rows, duplicates + find_image.notices(TRUTH) + find_category.notices(TRUTH)


def _row(annotation: dict[str, Any], name: str, table: Lookup, pointer: str, faults: Faults) -> int | None:
    """The row that an annotation's id stands for; None where there is none."""
    value = read_id(annotation, name, pointer, faults)
    row = None if value is None else table.find(value, f"{pointer}/{name}")
    if value is not None and row is None and table.whole:
        detail = f"the data set has no {table.kind} {shown(value)}"
        faults.add(f"{pointer}/{name}", detail, f"unknown_{table.kind}")
    return row


def _crowd(annotation: dict[str, Any], pointer: str, faults: Faults) -> bool:
    value = given(annotation, "iscrowd", 0)
    if type(value) in (bool, int) and value in (0, 1):
        return bool(value)
    faults.wrong_type(f"{pointer}/iscrowd", value, "0 or 1")
    return False


def result_rows(
    value: Any,  # noqa: ANN401 - any JSON value
    images: Entries,
    categories: Entries,
    numbers: list[int | None],
    faults: Faults,
) -> tuple[Rows, list[Notice]]:
    """The results whose image and category are known; the others are told of, with a few of their ids."""
    results, find_image, find_category = _open_results(value, images, categories, faults)
    no_image, no_category = Tally(), Tally()
    kept, image, category = [], [], []
    for index, (at, result) in enumerate(results):
        image_id = read_id(result, "image_id", at, faults)
        category_id = read_id(result, "category_id", at, faults)
        if image_id is None or category_id is None:
            continue
        image_row = find_image.find(image_id, f"{at}/image_id")
        category_row = find_category.find(category_id, f"{at}/category_id")
        number = None if category_row is None else numbers[category_row]
        if image_row is None:
            no_image.add(f"{at}/image_id", image_id)
        elif number is None:
            no_category.add(f"{at}/category_id", category_id)
        else:
            kept.append(index)
            image.append(image_row)
            category.append(number)
    ids, duplicates = _ids(results)
    scores = np.array([_score(result, at, faults) for at, result in results], dtype=np.float64)
    rows = Rows(
        np.array(image, dtype=np.int64),
        np.array(category, dtype=np.int64),
        _boxes(results, faults)[kept],
        [ids[index] for index in kept],
        scores[kept],
    )
    notices = [*_left_out(no_image, find_image), *_left_out(no_category, find_category), *duplicates]
    return rows, notices + find_image.notices(RESULTS) + find_category.notices(RESULTS)


def _open_results(
    value: Any,  # noqa: ANN401 - any JSON value
    images: Entries,
    categories: Entries,
    faults: Faults,
) -> tuple[Elements, Lookup, Lookup]:
    """The results, and how their ids are looked up: among the ground truth's, or by names in both files."""
    if type(value) is not dict:
        return objects(value, RESULTS, None, faults), Lookup(images), Lookup(categories)
    named = {name: given(value, name, []) for name in ("images", "categories")}
    own_images = Entries.images(named, RESULTS, faults)
    own_categories = Entries.categories(named, RESULTS, faults)
    results = objects(value.get("annotations"), f"{RESULTS}/annotations", None, faults)
    return results, Lookup(images, own_images), Lookup(categories, own_categories)


def _score(result: dict[str, Any], pointer: str, faults: Faults) -> float:
    if result.get("score") is None:
        faults.missing(f"{pointer}/score", "no score; each result has one")
        return 0.0
    return probability(result["score"], f"{pointer}/score", faults)


def _left_out(tally: Tally, lookup: Lookup) -> list[Notice]:
    if not tally.count:
        return []
    listed = ", ".join(lookup.called(value) for value in tally.values)
    detail = f"{tally.count} results are left out: the ground truth has no {lookup.kind} {listed}"
    return [Notice(code=f"UNKNOWN_{lookup.kind.upper()}", detail=detail, pointer=tally.pointer)]


def _boxes(elements: Elements, faults: Faults) -> Floats:
    found = boxes(
        [element.get("bbox") for _, element in elements], lambda i: f"{elements[i][0]}/bbox", faults
    )
    return np.zeros((len(elements), 4)) if found is None else found


def _ids(elements: Elements) -> tuple[list[str | int | None], list[Notice]]:
    """The ids of elements that have one of their own in the file; None elsewhere."""
    times: dict[str | int, int] = {}
    values = [element.get("id") if is_id(element.get("id")) else None for _, element in elements]
    for value in values:
        if value is not None:
            times[value] = times.get(value, 0) + 1
    shared = Tally()
    for (at, _), value in zip(elements, values, strict=True):
        if value is not None and times[value] > 1:
            shared.add(f"{at}/id", value)
    if not shared.count:
        return values, []
    detail = f"{shared.count} ids are not unique ({shared.listed}); indices stand for them"
    notice = Notice(code="DUPLICATE_ID", detail=detail, pointer=shared.pointer)
    return [value if value is not None and times[value] == 1 else None for value in values], [notice]
