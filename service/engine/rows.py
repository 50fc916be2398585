"""The answer's rows, one a prediction and one a ground truth, built in bulk from columns."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from torch import Tensor

from posneg.models.explain.reasons import Reasons
from posneg.models.types import Assignment, Batch
from posneg.service.engine.batch import Prepared
from posneg.service.schemas.loss_input import LossInput

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """Everything that rows are made of, as plain lists."""

    request: LossInput
    prepared: Prepared
    assignment: Assignment
    reasons: Reasons
    targets: list[float] | None
    loss: dict[str, list[float]] | None
    gradients: dict[str, Tensor | None] | None


class Rows:
    """Rows of all images; prediction and ground truth numbers run over the batch."""

    def __init__(self, explained: Explained) -> None:
        self.explained = explained
        self.assignment = explained.assignment
        trace = explained.assignment.trace
        assert trace is not None
        self.trace = trace
        self.positive = self.assignment.positive.tolist()
        self.ignored = self.assignment.ignored.tolist()
        self.matched = self.assignment.ground_truth.tolist()
        verdicts = explained.reasons.verdicts
        self.pair_prediction = trace.prediction.tolist()
        self.pair_ground_truth = trace.ground_truth.tolist()
        self.iou = trace.iou.tolist()
        self.metric = trace.metric.tolist()
        self.rank = trace.rank.tolist()
        self.factors = {name: values.tolist() for name, values in trace.factors.items()}
        self.test = verdicts.test.tolist()
        self.value = verdicts.value.tolist()
        self.cutoff = verdicts.cutoff.tolist()
        self.margin = verdicts.margin.tolist()
        self.prediction_pair = explained.reasons.prediction_pair.tolist()
        self.ground_truth_pair = explained.reasons.ground_truth_pair.tolist()
        images = explained.request.images
        self.first_prediction = [0, *accumulate(i.predictions.count for i in images)]
        self.first_ground_truth = [0, *accumulate(len(i.ground_truth.boxes) for i in images)]
        self.taken: dict[int, list[int]] = {}
        for number, (positive, box) in enumerate(zip(self.positive, self.matched, strict=True)):
            if positive:
                self.taken.setdefault(box, []).append(number)

    def predictions(self, image: int, detail: str) -> list[Row]:
        """The rows of one image's predictions; `positives` leaves out what never came close."""
        numbers = range(self.first_prediction[image], self.first_prediction[image + 1])
        if detail == "positives":
            numbers_kept = [n for n in numbers if self.positive[n] or self._lost_by_little(n)]
            return [self._prediction(image, n) for n in numbers_kept]
        return [self._prediction(image, n) for n in numbers]

    def ground_truth(self, image: int) -> list[Row]:
        """The rows of one image's ground truth."""
        numbers = range(self.first_ground_truth[image], self.first_ground_truth[image + 1])
        return [self._ground_truth(image, n) for n in numbers]

    def outcome(self, image: int, number: int) -> Row:
        """What became of one prediction of the batch, why, and by how much."""
        pair, positive = self.prediction_pair[number], self.positive[number]
        return {
            "state": "positive" if positive else "ignored" if self.ignored[number] else "negative",
            "ground_truth": self.box(image, self.matched[number])["ground_truth"] if positive else None,
            "reason": self.explained.prepared.set_aside[number]
            or self.explained.reasons.prediction_reason[number],
            "margin": self._decision(pair)["margin"],
        }

    def names(self, image: int, number: int) -> Row:
        """How one prediction of the batch is called: its id where it has one, and its index."""
        return {
            "prediction": self._prediction_reference(image, number),
            "prediction_index": number - self.first_prediction[image],
        }

    def box(self, image: int, number: int) -> Row:
        """How one ground truth of the batch is called: its id where it has one, and its index."""
        return self._reference(image, number, "ground_truth", "ground_truth_index")

    def _lost_by_little(self, number: int) -> bool:
        pair = self.prediction_pair[number]
        return pair >= 0 and not math.isnan(self.margin[pair]) and self.margin[pair] > -0.1

    def _prediction(self, image: int, number: int) -> Row:
        index = number - self.first_prediction[image]
        ids = self.explained.request.images[image].predictions.ids
        pair = self.prediction_pair[number]
        positive = self.positive[number]
        state = "positive" if positive else "ignored" if self.ignored[number] else "negative"
        row: Row = {"index": index, "id": ids[index] if ids else None, "state": state, "ground_truth": None}
        if positive:
            row |= self._reference(image, self.matched[number], "ground_truth", "ground_truth_index")
            row["label"] = self._label(image, self.matched[number])
            row |= self._measured(pair)
            if self.explained.targets is not None:
                row["target"] = self.explained.targets[number]
        elif pair >= 0:
            row |= self._reference(image, self.pair_ground_truth[pair], "nearest", "nearest_index")
            row |= self._measured(pair)
        else:
            row |= {"nearest": None, "nearest_index": None}
        set_aside = self.explained.prepared.set_aside[number]
        row["reason"] = set_aside or self.explained.reasons.prediction_reason[number]
        row |= self._decision(pair)
        if self.explained.loss is not None:
            row["loss"] = {term: values[number] for term, values in self.explained.loss.items()}
        if self.explained.gradients is not None:
            row["gradient"] = self._gradient(image, number)
        return row

    def _measured(self, pair: int) -> Row:
        if pair < 0:
            return {}
        row: Row = {"iou": self.iou[pair], "metric": self.metric[pair]}
        if self.factors:
            row["factors"] = {name: values[pair] for name, values in self.factors.items()}
        if self.rank[pair]:
            row["rank"] = self.rank[pair]
        return row

    def _decision(self, pair: int) -> Row:
        if pair < 0 or self.test[pair] < 0:
            return {"margin": None, "decided_by": None}
        margin, cutoff = self.margin[pair], self.cutoff[pair]
        quantity = self.trace.tests[self.test[pair]].quantity
        decided = {"quantity": quantity, "value": self.value[pair], "cutoff": _number(cutoff)}
        return {"margin": _number(margin), "decided_by": decided}

    def _ground_truth(self, image: int, number: int) -> Row:
        given = self.explained.request.images[image].ground_truth
        index = number - self.first_ground_truth[image]
        taken = self.taken.get(number, [])
        excluded = self.explained.prepared.excluded[number]
        ignored = bool(given.ignore[index])
        state = "ignored" if ignored else "assigned" if taken else "unassigned"
        row: Row = {
            "index": index,
            "id": given.ids[index],
            "label": self._label(image, number),
            "state": state,
            "predictions": [self._prediction_reference(image, n) for n in taken],
            "prediction_indices": [n - self.first_prediction[image] for n in taken],
            "candidates": self.explained.reasons.candidates[number].item(),
        }
        if state == "unassigned":
            row["reason"] = excluded or self.explained.reasons.ground_truth_reason[number]
            row |= self._best(image, number)
        return row

    def _best(self, image: int, number: int) -> Row:
        """The prediction that came closest, and who took it where it was lost to another box."""
        pair = self.ground_truth_pair[number]
        if pair < 0:
            return {"best": None}
        prediction = self.pair_prediction[pair]
        row: Row = {
            "best": {
                "prediction": self._prediction_reference(image, prediction),
                "prediction_index": prediction - self.first_prediction[image],
                "iou": self.iou[pair],
                "metric": self.metric[pair],
            }
        }
        row |= self._decision(pair)
        if (
            self.explained.reasons.ground_truth_reason[number] == "LOST_CONFLICT"
            and self.positive[prediction]
        ):
            row |= self._reference(image, self.matched[prediction], "winner", "winner_index")
        return row

    def _reference(self, image: int, number: int, name: str, index_name: str) -> Row:
        """The id of a ground truth where it has one, else its index; and its index."""
        index = number - self.first_ground_truth[image]
        own = self.explained.request.images[image].ground_truth.ids[index]
        return {name: index if own is None else own, index_name: index}

    def _prediction_reference(self, image: int, number: int) -> Any:  # noqa: ANN401 - an id or an index
        index = number - self.first_prediction[image]
        ids: Sequence[Any] = self.explained.request.images[image].predictions.ids
        return ids[index] if ids and ids[index] is not None else index

    def _label(self, image: int, number: int) -> str:
        index = number - self.first_ground_truth[image]
        request = self.explained.request
        return request.classes[int(request.images[image].ground_truth.labels[index])]

    def _gradient(self, image: int, number: int) -> Row:
        """d total / d each input of the row, in the units sent."""
        gradients = self.explained.gradients or {}
        predictions = self.explained.request.images[image].predictions
        row: Row = {}
        for name, gradient in gradients.items():
            values: Any = None if gradient is None else gradient[number].tolist()
            if name == "scores" and predictions.given is not None:
                marks = predictions.given[number - self.first_prediction[image]]
                classes = self.explained.request.classes
                values = {c: v for c, v, given in zip(classes, values or [], marks, strict=True) if given}
            row["box" if name == "boxes" else name] = values
        return row


def state_counts(batch: Batch, assignment: Assignment, request: LossInput) -> list[dict[str, int]]:
    """The counts of each image, as the answer has them."""
    predictions, truth = batch.predictions.image, batch.ground_truth.image

    def tally(mask: Tensor, image: Tensor) -> list[int]:
        counts: list[int] = mask.long().new_zeros(batch.images).index_add(0, image, mask.long()).tolist()
        return counts

    positive = tally(assignment.positive, predictions)
    ignored = tally(assignment.ignored, predictions)
    hit = assignment.degenerate.new_zeros(len(assignment.degenerate))
    hit[assignment.ground_truth[assignment.positive]] = True
    assigned = tally(hit, truth)
    counts = []
    for number, image in enumerate(request.images):
        boxes, set_aside = len(image.ground_truth.boxes), int(image.ground_truth.ignore.sum())
        counts.append(
            {
                "images": 1,
                "ground_truth": boxes,
                "ground_truth_unassigned": boxes - set_aside - assigned[number],
                "ground_truth_ignored": set_aside,
                "predictions": image.predictions.count,
                "positive": positive[number],
                "negative": image.predictions.count - positive[number] - ignored[number],
                "ignored": ignored[number],
            }
        )
    return counts


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
