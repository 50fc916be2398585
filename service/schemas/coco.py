"""A COCO pair as it is: a data set, and results as a list or as a data set whose annotations carry scores."""

from typing import Any

import numpy as np

from posneg.service.schemas.coco_rows import RESULTS, TRUTH, Rows, result_rows, truth_rows
from posneg.service.schemas.coco_tables import Entries, Tally, distinct_names
from posneg.service.schemas.columns import Size
from posneg.service.schemas.elements import Scores, SparsePredictions
from posneg.service.schemas.faults import Faults, given
from posneg.service.schemas.images import MAX_IMAGES, ReadImage
from posneg.service.schemas.labels import MAX_CLASSES, Labels
from posneg.service.schemas.loss_input import GroundTruthInput, Integers, Notice
from posneg.service.schemas.loss_request import Coco
from posneg.service.schemas.numbers import is_number

FEDERATED = ("neg_category_ids", "not_exhaustive_category_ids")


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
    images = Entries.images(truth, TRUTH, faults)
    categories = Entries.categories(truth, TRUTH, faults)
    if _too_many(images, MAX_IMAGES, faults) or _too_many(categories, MAX_CLASSES, faults):
        return [], labels, []
    names, notices = distinct_names(categories)
    if not labels.listed:
        labels = Labels(names, faults)
    numbers = [labels.find(name) for name in names]
    found, told = truth_rows(truth.get("annotations"), images, categories, numbers, faults)
    guessed, more = result_rows(given(value, "predictions", []), images, categories, numbers, faults)
    sizes, untold = _sizes(images)
    return _by_image(images, sizes, found, guessed), labels, notices + untold + told + more


def _by_image(images: Entries, sizes: list[Size | None], truth: Rows, results: Rows) -> list[ReadImage]:
    count = len(sizes)
    columns = zip(
        images.ids, sizes, _truth_by_image(truth, count), _results_by_image(results, count), strict=True
    )
    return [
        ReadImage(id=id_, pointer=RESULTS, size=size, ground_truth=found, predictions=guessed, grid=False)
        for id_, size, found, guessed in columns
        if id_ is not None
    ]


def _too_many(entries: Entries, limit: int, faults: Faults) -> bool:
    if len(entries.ids) <= limit:
        return False
    faults.add(entries.pointer, f"{len(entries.ids)} of them; a request may have {limit}", "too_many")
    return True


def _sizes(images: Entries) -> tuple[list[Size | None], list[Notice]]:
    sizes: list[Size | None] = []
    unusable, federated = Tally(), Tally()
    for at, image in images.elements:
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
