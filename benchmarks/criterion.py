"""Assignment and criterion, forward and backward, beside the least that a dense classification loss must do.

Workload: a YOLOv8 head at 640 px (8400 points, strides 8, 16, 32, 80 classes, 16 bins), 16 images, float32,
CPU, seed 0.
The floor is binary cross-entropy with its gradient over the same class logits, on its own.
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional

from posneg.models.criterion import assign, criterion
from posneg.models.heads import boxes_from_dfl
from posneg.models.presets import resolve
from posneg.models.types import Batch, ClassScores, GroundTruth, Predictions

IMAGES, SIZE_PX, CLASSES, BINS, ROUNDS = 16, 640, 80, 16, 7
STRIDES = (8, 16, 32)


def grid() -> tuple[torch.Tensor, torch.Tensor]:
    """Cell centres and strides of one image."""
    points, strides = [], []
    for stride in STRIDES:
        cells = torch.cartesian_prod(torch.arange(SIZE_PX // stride), torch.arange(SIZE_PX // stride)).flip(1)
        points.append((cells + 0.5) * stride)
        strides.append(torch.full((len(cells),), float(stride)))
    return torch.cat(points), torch.cat(strides)


class Workload:
    """A head's raw output, to be turned into a batch anew for every backward pass."""

    def __init__(self, boxes_an_image: int) -> None:
        generator = torch.Generator().manual_seed(0)
        points, strides = grid()
        self.points, self.strides = points.repeat(IMAGES, 1), strides.repeat(IMAGES)
        rows = len(self.points)
        self.dfl = torch.randn(rows, 4, BINS, generator=generator).requires_grad_()
        self.logits = (torch.randn(rows, CLASSES, generator=generator) - 4).requires_grad_()
        count = IMAGES * boxes_an_image
        corner = torch.rand(count, 2, generator=generator) * (SIZE_PX - 200)
        side = torch.rand(count, 2, generator=generator) * 180 + 12
        self.truth = GroundTruth(
            boxes=torch.cat([corner, corner + side], 1),
            labels=torch.randint(CLASSES, (count,), generator=generator),
            image=torch.arange(IMAGES).repeat_interleave(boxes_an_image),
            ignore=torch.zeros(count, dtype=torch.bool),
            weight=torch.ones(count),
        )

    def batch(self) -> Batch:
        """The batch as a detector hands it over."""
        with torch.no_grad():
            boxes = boxes_from_dfl(self.dfl, self.points, self.strides)
        predictions = Predictions(
            boxes=boxes,
            boxes_from_dfl=True,
            scores=ClassScores(logits=self.logits),
            image=torch.arange(IMAGES).repeat_interleave(len(self.points) // IMAGES),
            points=self.points,
            strides=self.strides,
            dfl=self.dfl,
        )
        return Batch(predictions=predictions, ground_truth=self.truth, images=IMAGES)


def milliseconds(run: Callable[[], object]) -> float:
    """Median time of a call, after two that warm up."""
    times = []
    for _ in range(ROUNDS + 2):
        began = time.perf_counter()
        run()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times[2:])


def report() -> None:
    """Print both crowds beside the floor."""
    recipe = resolve("yolov8")
    print(f"{'boxes an image':>15} {'assign ms':>10} {'all ms':>8} {'floor ms':>9} {'all / floor':>12}")
    for boxes in (8, 64):
        work = Workload(boxes)
        batch = work.batch()
        target = torch.zeros_like(work.logits)

        def floor(work: Workload = work, target: torch.Tensor = target) -> None:
            functional.binary_cross_entropy_with_logits(work.logits, target, reduction="sum").backward()

        def whole(work: Workload = work) -> None:
            criterion(recipe, work.batch()).total.backward()

        alone = milliseconds(lambda batch=batch: assign(recipe, batch))  # type: ignore[misc]
        everything, least = milliseconds(whole), milliseconds(floor)
        print(f"{boxes:>15} {alone:>10.1f} {everything:>8.1f} {least:>9.1f} {everything / least:>12.2f}")


if __name__ == "__main__":
    report()
