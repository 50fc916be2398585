"""Ground truth and predictions that stand as lists of objects, one element each."""

from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from math import inf, isnan
from typing import Any

import numpy as np

from posneg.service.schemas.faults import Faults, below, given, shown
from posneg.service.schemas.labels import Labels
from posneg.service.schemas.loss_input import Floats, GroundTruthInput, Integers, PredictionsInput
from posneg.service.schemas.loss_request import GroundTruthElement, PredictionElement
from posneg.service.schemas.numbers import boxes, is_number

Elements = list[tuple[str, dict[str, Any]]]
"""The objects of a list, each with its JSON pointer."""
ID_BITS = 63
GROUND_TRUTH_FIELDS = GroundTruthElement.model_fields.keys()
PREDICTION_FIELDS = PredictionElement.model_fields.keys()


@dataclass(slots=True)
class Scores:
    """The class scores of a list of predictions, one entry for each score that was given.

    How many classes there are is known only once every image has been read.
    """

    rows: list[int] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class SparsePredictions:
    """A list of predictions, its scores not yet spread over the classes."""

    boxes: Floats  # [N, 4]
    labels: Integers  # [N]
    ids: list[str | int | None]
    scores: Scores

    def spread(self, classes: int) -> PredictionsInput:
        """With a score for each of the classes, 0 where none was given."""
        count = len(self.boxes)
        values, marks = np.zeros((count, classes)), np.zeros((count, classes), dtype=np.bool_)
        at = (np.array(self.scores.rows, dtype=np.int64), np.array(self.scores.classes, dtype=np.int64))
        values[at] = self.scores.values
        marks[at] = True
        return PredictionsInput(
            dense=False,
            count=count,
            columns={"boxes": self.boxes, "scores": values},
            given=marks,
            labels=self.labels,
            ids=self.ids,
        )


def ground_truth(value: Any, pointer: str, labels: Labels, faults: Faults) -> GroundTruthInput:  # noqa: ANN401
    """The boxes of one image; whatever is at fault stands in as 0."""
    elements = objects(value, pointer, GROUND_TRUTH_FIELDS, faults)
    found = boxes([element.get("box") for _, element in elements], lambda i: f"{elements[i][0]}/box", faults)
    return GroundTruthInput(
        boxes=_empty(len(elements)) if found is None else found,
        labels=_integers(_label(element, at, labels, faults) for at, element in elements),
        ignore=np.array([_flag(element, at, faults) for at, element in elements], dtype=np.bool_),
        weight=np.array([_weight(element, at, faults) for at, element in elements], dtype=np.float64),
        ids=unique_ids([(at, element.get("id")) for at, element in elements], faults),
        soft_labels=[_soft_label(element, at, labels, faults) for at, element in elements],
    )


def predictions(value: Any, pointer: str, labels: Labels, faults: Faults) -> SparsePredictions:  # noqa: ANN401
    """The predictions of one image; whatever is at fault stands in as 0."""
    elements = objects(value, pointer, PREDICTION_FIELDS, faults)
    found = boxes([element.get("box") for _, element in elements], lambda i: f"{elements[i][0]}/box", faults)
    scores = Scores()
    return SparsePredictions(
        boxes=_empty(len(elements)) if found is None else found,
        labels=_integers(
            _scored(row, element, at, labels, scores, faults) for row, (at, element) in enumerate(elements)
        ),
        ids=unique_ids([(at, element.get("id")) for at, element in elements], faults),
        scores=scores,
    )


def unique_ids(pairs: list[tuple[str, Any]], faults: Faults) -> list[str | int | None]:
    """The ids of one list, each a string or a whole number and each once; None where there is none."""
    first: dict[str | int, str] = {}
    ids: list[str | int | None] = []
    for pointer, value in pairs:
        usable = is_id(value)
        ids.append(value if usable else None)
        if usable and first.setdefault(value, pointer) is not pointer:
            faults.add(f"{pointer}/id", f"{shown(value)} is the id of {first[value]} too", "duplicate_id")
        elif not usable and value is not None:
            faults.wrong_type(f"{pointer}/id", value, "a string or a whole number of 64 bits")
    return ids


def is_id(value: object) -> bool:
    """A string, or a whole number that fits 64 bits."""
    return type(value) is str or (type(value) is int and value.bit_length() <= ID_BITS)


def probability(value: Any, pointer: str, faults: Faults) -> float:  # noqa: ANN401 - any JSON value
    """A score in 0..1, or a non-finite one, which is left to be diagnosed; 0 where it is at fault."""
    if not is_number(value):
        faults.wrong_type(pointer, value, "a number")
    elif -inf < value < 0 or 1 < value < inf:
        detail = f"{shown(value)} is no probability; scores are 0 to 1, logits go as columns"
        faults.add(pointer, detail, "not_a_probability")
    else:
        return float(value)
    return 0.0


def objects(value: Any, pointer: str, known: Set[str] | None, faults: Faults) -> Elements:  # noqa: ANN401
    """The elements of a list of objects; `known` None: whatever fields they have."""
    if value is None:
        faults.missing(pointer, "not there; it takes a list")
        return []
    if type(value) is not list:
        faults.wrong_type(pointer, value, "a list")
        return []
    elements = []
    for index, element in enumerate(value):
        at = f"{pointer}/{index}"
        if type(element) is not dict:
            faults.wrong_type(at, element, "an object")
            continue
        if known is not None and not element.keys() <= known:
            faults.unknown_fields(at, element, known)
        elements.append((at, element))
    return elements


def _label(element: dict[str, Any], pointer: str, labels: Labels, faults: Faults) -> int:
    label = element.get("label")
    if label is None:
        faults.missing(f"{pointer}/label", "no label; it takes a class name or index")
        return 0
    return labels.number(label, f"{pointer}/label")


def _flag(element: dict[str, Any], pointer: str, faults: Faults) -> bool:
    value = given(element, "ignore", False)
    if type(value) is bool or (type(value) is int and value in (0, 1)):
        return bool(value)
    faults.wrong_type(f"{pointer}/ignore", value, "true or false")
    return False


def _weight(element: dict[str, Any], pointer: str, faults: Faults) -> float:
    value = given(element, "weight", 1.0)
    if not is_number(value):
        faults.wrong_type(f"{pointer}/weight", value, "a number")
    elif not 0 <= value < inf:
        faults.add(f"{pointer}/weight", f"{shown(value)} is not finite and at least 0", "out_of_range")
    else:
        return float(value)
    return 1.0


def _soft_label(
    element: dict[str, Any], pointer: str, labels: Labels, faults: Faults
) -> dict[str, float] | None:
    shares = element.get("soft_label")
    if shares is None:
        return None
    at = f"{pointer}/soft_label"
    if type(shares) is not dict:
        faults.wrong_type(at, shares, "an object of shares by class name")
        return None
    for name, share in shares.items():
        labels.key(name, at)
        if not is_number(share):
            faults.wrong_type(below(at, name), share, "a number")
        elif not 0 <= share <= 1:
            faults.add(below(at, name), f"{shown(share)} is not 0 to 1", "out_of_range")
    return {name: float(share) for name, share in shares.items() if is_number(share)}


def _scored(
    row: int, element: dict[str, Any], pointer: str, labels: Labels, scores: Scores, faults: Faults
) -> int:
    """Keep the scores of one prediction; the class that it names, or else scores highest."""
    by_class, label, score = (element.get(name) for name in ("scores", "label", "score"))
    if by_class is not None:
        if score is not None:
            faults.add(f"{pointer}/score", "beside `scores`; send one of them", "conflicting_fields")
        best = _keep_all(row, by_class, f"{pointer}/scores", labels, scores, faults)
        return best if label is None else labels.number(label, f"{pointer}/label")
    if label is None:
        faults.missing(f"{pointer}/label", "no label; a prediction has `label` and `score`, or `scores`")
    if score is None:
        faults.missing(f"{pointer}/score", "no score; a prediction has `label` and `score`, or `scores`")
    if label is None or score is None:
        return 0
    number = labels.number(label, f"{pointer}/label")
    scores.rows.append(row)
    scores.classes.append(number)
    scores.values.append(probability(score, f"{pointer}/score", faults))
    return number


def _keep_all(
    row: int,
    by_class: Any,  # noqa: ANN401 - any JSON value
    pointer: str,
    labels: Labels,
    scores: Scores,
    faults: Faults,
) -> int:
    if type(by_class) is not dict:
        faults.wrong_type(pointer, by_class, "an object of probabilities by class name")
        return 0
    if not by_class:
        faults.missing(pointer, "no score in it; name at least one class")
        return 0
    numbers = [labels.key(name, pointer) for name in by_class]
    values = [probability(value, below(pointer, name), faults) for name, value in by_class.items()]
    scores.rows += [row] * len(numbers)
    scores.classes += numbers
    scores.values += values
    return numbers[max(range(len(values)), key=lambda i: -1.0 if isnan(values[i]) else values[i])]


def _integers(values: Iterable[int]) -> Integers:
    return np.fromiter(values, dtype=np.int64)


def _empty(count: int) -> Floats:
    return np.zeros((count, 4))
