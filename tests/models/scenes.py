"""Random small scenes for laws: crowded, with ties, empty images and ignored boxes among them."""

from collections.abc import Callable
from dataclasses import fields, replace

import torch
from hypothesis import strategies as st

from posneg.models.types import Batch, ClassScores, GroundTruth, Predictions

F64 = torch.float64
CLASSES = 3
HEIGHT, WIDTH, STRIDES = 48, 64, (8, 16)


@st.composite
def scenes(draw: st.DrawFn, images: int = 3) -> Batch:
    """Images with a grid of points on two levels and up to six boxes; sometimes on whole pixels, for ties."""
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    whole = draw(st.booleans())
    counts = [draw(st.integers(0, 6)) for _ in range(images)]
    return join([scene(random, count, whole) for count in counts])


def scene(random: torch.Generator, boxes: int, whole: bool) -> Batch:
    """One image: a prediction about each point of the grid, and boxes anywhere, small ones more often."""
    points, strides = _grid()
    count = len(points)
    half = (torch.rand(count, 2, generator=random, dtype=F64) * 1.5 + 0.2) * strides[:, None]
    center = points + (torch.rand(count, 2, generator=random, dtype=F64) - 0.5) * strides[:, None]
    corner = torch.rand(boxes, 2, generator=random, dtype=F64) * torch.tensor([WIDTH - 8, HEIGHT - 8])
    size = torch.rand(boxes, 2, generator=random, dtype=F64) ** 2 * 40 + 2
    truth, predicted = torch.cat([corner, corner + size], 1), torch.cat([center - half, center + half], 1)
    if whole:
        truth, predicted = (truth / 4).round() * 4, (predicted / 4).round() * 4
        truth[:, 2:] = torch.maximum(truth[:, 2:], truth[:, :2] + 4)
        predicted[:, 2:] = torch.maximum(predicted[:, 2:], predicted[:, :2] + 4)
    return Batch(
        predictions=Predictions(
            boxes=predicted,
            scores=ClassScores(logits=torch.randn(count, CLASSES, generator=random, dtype=F64) * 2),
            image=torch.zeros(count, dtype=torch.long),
            points=points,
            strides=strides,
            objectness=torch.randn(count, generator=random, dtype=F64),
        ),
        ground_truth=GroundTruth(
            boxes=truth,
            labels=torch.randint(CLASSES, (boxes,), generator=random),
            image=torch.zeros(boxes, dtype=torch.long),
            ignore=torch.rand(boxes, generator=random) < 0.2,
            weight=torch.ones(boxes, dtype=F64),
        ),
        images=1,
    )


def _grid() -> tuple[torch.Tensor, torch.Tensor]:
    points, spacing = [], []
    for stride in STRIDES:
        y, x = torch.meshgrid(
            torch.arange(HEIGHT // stride, dtype=F64), torch.arange(WIDTH // stride, dtype=F64), indexing="ij"
        )
        points.append((torch.stack([x, y], -1).reshape(-1, 2) + 0.5) * stride)
        spacing.append(torch.full((len(points[-1]),), float(stride), dtype=F64))
    return torch.cat(points), torch.cat(spacing)


def join(batches: list[Batch]) -> Batch:
    """Several batches as one, their images in order."""
    first = [sum(b.images for b in batches[:n]) for n in range(len(batches))]
    joined = [replacescene(batch, start) for batch, start in zip(batches, first, strict=True)]
    predictions = _cat([b.predictions for b in joined])
    return Batch(
        predictions=predictions,
        ground_truth=_cat([b.ground_truth for b in joined]),
        images=sum(b.images for b in batches),
    )


def replacescene(batch: Batch, start: int) -> Batch:
    """The batch with its images numbered from `start`."""
    predictions, truth = batch.predictions, batch.ground_truth
    return replace(
        batch,
        predictions=replace(predictions, image=predictions.image + start),
        ground_truth=replace(truth, image=truth.image + start),
    )


def pick(batch: Batch, predictions: torch.Tensor, ground_truth: torch.Tensor) -> Batch:
    """Some rows of each, by mask or index."""
    return replace(
        batch,
        predictions=_rows(batch.predictions, predictions),
        ground_truth=_rows(batch.ground_truth, ground_truth),
    )


def split(batch: Batch) -> list[Batch]:
    """A batch for each image."""
    return [
        replace(
            replacescene(pick(batch, batch.predictions.image == n, batch.ground_truth.image == n), -n),
            images=1,
        )
        for n in range(batch.images)
    ]


def _rows(rows: Predictions | GroundTruth, chosen: torch.Tensor):
    values = {f.name: getattr(rows, f.name) for f in fields(rows)}
    picked = {name: value[chosen] for name, value in values.items() if isinstance(value, torch.Tensor)}
    if isinstance(rows, Predictions):
        picked["scores"] = rows.scores.take(chosen)
    return replace(rows, **picked)


def _cat(parts: list):
    values = {f.name: [getattr(part, f.name) for part in parts] for f in fields(parts[0])}
    joined = {name: torch.cat(v) for name, v in values.items() if isinstance(v[0], torch.Tensor)}
    if "scores" in values:
        joined["scores"] = ClassScores(logits=torch.cat([scores.values for scores in values["scores"]]))
    return replace(parts[0], **joined)


def cast(batch: Batch, dtype: torch.dtype) -> Batch:
    """The batch in another precision."""
    return _each(batch, lambda values: values.to(dtype) if values.is_floating_point() else values)


def to_device(batch: Batch, device: str) -> Batch:
    """The batch on another device."""
    return _each(batch, lambda values: values.to(device))


def _each(batch: Batch, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
    def rows(part):
        values = {f.name: getattr(part, f.name) for f in fields(part)}
        tensors = {n: change(v) for n, v in values.items() if isinstance(v, torch.Tensor)}
        return replace(part, **tensors)

    predictions = replace(rows(batch.predictions), scores=rows(batch.predictions.scores))
    return replace(batch, predictions=predictions, ground_truth=rows(batch.ground_truth))
