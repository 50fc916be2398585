"""A COCO pair as it is: a data set, and results as a list or as a data set whose annotations carry scores."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from posneg.service.schemas.coco_tables import Entries, Lookup, Tally, distinct_names, read_id
from posneg.service.schemas.elements import (
    Elements,
    Scores,
    SparsePredictions,
    is_id,
    objects,
    probability,
)
from posneg.service.schemas.faults import Faults, given, shown
from posneg.service.schemas.images import MAX_IMAGES, ReadImage
from posneg.service.schemas.labels import MAX_CLASSES, Labels
from posneg.service.schemas.loss_input import Floats, GroundTruthInput, Integers, Notice
from posneg.service.schemas.loss_request import Coco
from posneg.service.schemas.numbers import boxes, is_number

TRUTH, RESULTS = "/coco/ground_truth", "/coco/predictions"
FEDERATED = ("neg_category_ids", "not_exhaustive_category_ids")


@dataclass(frozen=True, slots=True)
class Rows:
    """Annotations or results that found their image and category, in the order of the file."""

    image: Integers
    category: Integers
    boxes: Floats
    ids: list[str | int | None]
    extra: Floats  # crowd flag, or score


def read_coco(
    value: Any,  # noqa: ANN401 - any JSON value
    labels: Labels,
    faults: Faults,
) -> tuple[list[ReadImage], Labels, list[Notice]]:
    """Images, classes (the categories in their order, unless the request lists some), and notices."""
    if type(value) is not dict:
        faults.wrong_type("/coco", value, "an object with `ground_truth` and `predictions`")
        return [], labels, []
    faults.unknown_fields("/coco", value, Coco.model_fields)
    truth = value.get("ground_truth")
    if type(truth) is not dict:
        faults.wrong_type(TRUTH, truth, "a COCO data set: images, annotations, categories")
        return [], labels, []
    parts = {name: _member(truth, name, faults) for name in ("images", "annotations", "categories")}
    images = Entries.read(parts["images"], f"{TRUTH}/images", "image", "file_name", faults)
    categories = Entries.read(parts["categories"], f"{TRUTH}/categories", "category", "name", faults)
    names, notices = distinct_names(categories)
    if len(images.ids) > MAX_IMAGES:
        detail = f"{len(images.ids)} images; a request may have {MAX_IMAGES}"
        faults.add(images.pointer, detail, "too_many")
    if len(names) > MAX_CLASSES:
        detail = f"{len(names)} categories; a request may have {MAX_CLASSES}"
        faults.add(categories.pointer, detail, "too_many")
    faults.raise_if_any()
    if not labels.listed:
        labels = Labels(names, faults)
    numbers = [labels.find(name) for name in names]
    sizes, size_notices = _sizes(parts["images"])
    truth_rows, truth_notices = _truth_rows(
        parts["annotations"], Lookup(images), Lookup(categories), numbers, faults
    )
    result_rows, result_notices = _result_rows(
        given(value, "predictions", []), images, categories, numbers, faults
    )
    read = [
        ReadImage(id=image, pointer=RESULTS, size=size, ground_truth=boxes_, predictions=found, grid=False)
        for image, size, boxes_, found in zip(
            images.ids,
            sizes,
            _truth_by_image(truth_rows, len(sizes)),
            _results_by_image(result_rows, len(sizes)),
            strict=True,
        )
        if image is not None
    ]
    return read, labels, notices + size_notices + truth_notices + result_notices


def _member(dataset: dict[str, Any], name: str, faults: Faults) -> Elements:
    if dataset.get(name) is None:
        faults.missing(f"{TRUTH}/{name}", f"no {name}; a COCO data set has images, annotations, categories")
        return []
    return objects(dataset[name], f"{TRUTH}/{name}", None, faults)


def _sizes(images: Elements) -> tuple[list[tuple[float, float] | None], list[Notice]]:
    sizes: list[tuple[float, float] | None] = []
    unusable, federated = Tally(), Tally()
    for at, image in images:
        sides: list[Any] = [image.get("height"), image.get("width")]
        usable = all(is_number(side) and 0 < side < float("inf") for side in sides)
        sizes.append((float(sides[0]), float(sides[1])) if usable else None)
        if not usable and sides != [None, None]:
            unusable.add(at, image.get("id"))
        if any(name in image for name in FEDERATED):
            federated.add(at, image.get("id"))
    notices = []
    if unusable.count:
        detail = f"height and width of {unusable.count} images are not both above 0: {unusable.listed}"
        notices.append(Notice(code="SIZE_UNKNOWN", detail=detail, pointer=unusable.pointer))
    if federated.count:
        detail = (
            f"{federated.count} images are not labelled exhaustively (LVIS); predictions of classes that"
            " nobody looked for there count as negatives all the same"
        )
        notices.append(Notice(code="FEDERATED_LABELS", detail=detail, pointer=federated.pointer))
    return sizes, notices


def _truth_rows(
    annotations: Elements, images: Lookup, categories: Lookup, numbers: list[int | None], faults: Faults
) -> tuple[Rows, list[Notice]]:
    """Every annotation; one of an unknown image or category could not be accounted for, and is a fault."""
    image, category, crowd = [], [], []
    for at, annotation in annotations:
        image.append(_row(annotation, "image_id", images, at, faults))
        row = _row(annotation, "category_id", categories, at, faults)
        number = numbers[row] if numbers else 0
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
    return rows, duplicates + images.notices(TRUTH) + categories.notices(TRUTH)


def _row(annotation: dict[str, Any], name: str, table: Lookup, pointer: str, faults: Faults) -> int:
    """The row that an annotation's id stands for; 0 where it is at fault."""
    value = read_id(annotation, name, pointer, faults)
    if value is None:
        return 0
    row = table.find(value, f"{pointer}/{name}")
    if row is None:
        detail = f"the data set has no {table.kind} {shown(value)}"
        faults.add(f"{pointer}/{name}", detail, f"unknown_{table.kind}")
    return row or 0


def _crowd(annotation: dict[str, Any], pointer: str, faults: Faults) -> bool:
    value = given(annotation, "iscrowd", 0)
    if type(value) in (bool, int) and value in (0, 1):
        return bool(value)
    faults.wrong_type(f"{pointer}/iscrowd", value, "0 or 1")
    return False


def _result_rows(
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
    own = {}
    for name, kind, field in (("images", "image", "file_name"), ("categories", "category", "name")):
        at = f"{RESULTS}/{name}"
        own[name] = Entries.read(objects(given(value, name, []), at, None, faults), at, kind, field, faults)
    if value.get("annotations") is None:
        faults.missing(f"{RESULTS}/annotations", "no annotations; results as a data set carry them there")
    results = objects(given(value, "annotations", []), f"{RESULTS}/annotations", None, faults)
    return results, Lookup(images, own["images"]), Lookup(categories, own["categories"])


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


def _groups(rows: Rows, images: int) -> list[Integers]:
    """The row numbers of each image, in the order of the file."""
    order = np.argsort(rows.image, kind="stable")
    ends = np.cumsum(np.bincount(rows.image, minlength=images)) if images else np.zeros(0, dtype=np.int64)
    return np.split(order, ends[:-1]) if images else []


def _truth_by_image(rows: Rows, images: int) -> list[GroundTruthInput]:
    return [
        GroundTruthInput(
            boxes=rows.boxes[chosen],
            labels=rows.category[chosen],
            ignore=rows.extra[chosen] > 0,
            weight=np.ones(len(chosen)),
            ids=[rows.ids[row] for row in chosen.tolist()],
            soft_labels=[None] * len(chosen),
        )
        for chosen in _groups(rows, images)
    ]


def _results_by_image(rows: Rows, images: int) -> list[SparsePredictions]:
    return [
        SparsePredictions(
            boxes=rows.boxes[chosen],
            labels=rows.category[chosen],
            ids=[rows.ids[row] for row in chosen.tolist()],
            scores=Scores(
                rows=list(range(len(chosen))),
                classes=rows.category[chosen].tolist(),
                values=rows.extra[chosen].tolist(),
            ),
        )
        for chosen in _groups(rows, images)
    ]
