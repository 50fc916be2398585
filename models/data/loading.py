"""Images from disk to training batches: decoded and shrunk once; sample k of a run is a pure function.

Which image sample k shows, and what its view looks like, is drawn from generators that are seeded with (seed,
k). So neither the number of workers nor an interruption changes a batch.
"""

import math
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType

import numpy as np
import torch
from jaxtyping import Int, UInt8
from PIL import Image
from torch import Tensor

from posneg.models.data.augmentation import Augmentation, Labelled, mosaic, single
from posneg.models.data.dataset import Sample
from posneg.models.imaging import ImageError, Placement, decode, letterbox
from posneg.models.types import GroundTruth

MAX_PIXELS = 2**28
CACHE_MIB = 2048
# What a generator is for, beside the seed, so that no two draw the same numbers.
ORDER, VIEW = 0, 1
MINIMUM_SIDE_PX = 1.0  # a box below this in the input is no object that a point could stand for


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingBatch:
    """Images, uint8 RGB, and the boxes in them, in pixels of the input."""

    images: UInt8[Tensor, "B H W 3"]
    ground_truth: GroundTruth


class Examples:
    """Samples by index, scaled to fit the input; what was decoded is kept while `cache_mib` allows."""

    def __init__(
        self, samples: Sequence[Sample], input_size: tuple[int, int], *, cache_mib: int = CACHE_MIB
    ) -> None:
        self.samples = samples
        self.input_size = input_size
        self._room = cache_mib * 2**20
        self._images: dict[int, UInt8[np.ndarray, "H W 3"]] = {}

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Labelled:
        """The image at its letterboxed size, without the border, and its boxes; degenerate boxes left out."""
        sample = self.samples[index]
        image = self._images.get(index)
        if image is None:
            image = self._load(sample)
            if (
                image.nbytes <= self._room
            ):  # two threads at once may both add an image: a little over is no harm
                self._room -= image.nbytes
                self._images[index] = image
        scale = np.array(image.shape[:2]) / sample.size
        boxes = sample.boxes * np.tile(scale[::-1], 2)
        keep = (boxes[:, 2:] - boxes[:, :2] >= MINIMUM_SIDE_PX).all(axis=1)
        return Labelled(image=image, boxes=boxes[keep], labels=sample.labels[keep], crowd=sample.crowd[keep])

    def letterboxed(self, index: int) -> tuple[UInt8[np.ndarray, "H W 3"], Placement]:
        """The image as the network sees it in use, and where it lies in there: `letterbox` of the file."""
        boxed, placement = letterbox(self[index].image, self.input_size)
        size = self.samples[index].size
        scale = min(self.input_size[0] / size[0], self.input_size[1] / size[1])
        return boxed, Placement(scale=scale, left=placement.left, top=placement.top, size=size)

    def _load(self, sample: Sample) -> UInt8[np.ndarray, "H W 3"]:
        image = read_image(sample)
        height, width = image.shape[:2]
        scale = min(self.input_size[0] / height, self.input_size[1] / width)
        new_height, new_width = max(round(height * scale), 1), max(round(width * scale), 1)
        if (new_height, new_width) == (height, width):
            return image
        resized = Image.fromarray(image).resize((new_width, new_height), Image.Resampling.BILINEAR)
        return np.asarray(resized)


def read_image(sample: Sample) -> UInt8[np.ndarray, "H W 3"]:
    """A sample's pixels; raises `ImageError`, with the file's name, for what is not the image it was."""
    try:
        image = decode(sample.file.read_bytes(), max_pixels=MAX_PIXELS)
    except ImageError as error:
        raise ImageError(f"{sample.file}: {error}") from error
    if image.shape[:2] != sample.size:
        raise ImageError(
            f"{sample.file} has (height, width) {image.shape[:2]}, but the data set says {sample.size}; "
            "import the data set again"
        )
    return image


class Loader:
    """Training batches by step; with `workers` threads the next ones are made ahead of time.

    Every image is shown once before any is shown again, in an order of its own each time.
    """

    def __init__(
        self,
        examples: Examples,
        *,
        batch_size: int,
        seed: int,
        augmentation: Augmentation,
        workers: int = 0,
    ) -> None:
        if not len(examples):
            raise ValueError("the training split has no images; give the data set some")
        self.examples = examples
        self.batch_size = batch_size
        self.seed = seed
        self.augmentation = augmentation
        self._pool = ThreadPoolExecutor(workers, "loader") if workers else None
        self._ahead: deque[tuple[int, bool, list[Future[Labelled]]]] = deque()
        self._depth = max(2, math.ceil(2 * workers / batch_size))

    def __enter__(self) -> "Loader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def batch(self, step: int, *, mosaics: bool) -> TrainingBatch:
        """The batch of a step (from 0); `mosaics` says whether some views may be made of four images."""
        numbers = range(step * self.batch_size, (step + 1) * self.batch_size)
        if self._pool is None:
            return collated([self.sample(number, mosaics=mosaics) for number in numbers])
        if not self._ahead or self._ahead[0][:2] != (step, mosaics):
            self._discard()
        first = step + len(self._ahead)
        for later in range(first, step + self._depth + 1):
            self._submit(later, mosaics)
        return collated([future.result() for future in self._ahead.popleft()[2]])

    def _submit(self, step: int, mosaics: bool) -> None:
        assert self._pool is not None
        numbers = range(step * self.batch_size, (step + 1) * self.batch_size)
        futures = [self._pool.submit(self.sample, number, mosaics=mosaics) for number in numbers]
        self._ahead.append((step, mosaics, futures))

    def _discard(self) -> None:
        for _, _, futures in self._ahead:
            for future in futures:
                future.cancel()
        self._ahead.clear()

    def sample(self, number: int, *, mosaics: bool) -> Labelled:
        """The view that sample `number` of the run is: (seed, number) and `mosaics` decide it entirely."""
        count = len(self.examples)
        lap, position = divmod(number, count)
        index = int(_order(self.seed, lap, count)[position])
        generator = np.random.default_rng((self.seed, VIEW, number))
        if mosaics and generator.random() < self.augmentation.mosaic:
            others = generator.integers(count, size=3).tolist()
            chosen = [self.examples[i] for i in (index, *others)]
            return mosaic(chosen, self.examples.input_size, self.augmentation, generator)
        return single(self.examples[index], self.examples.input_size, self.augmentation, generator)


@lru_cache(maxsize=8)
def _order(seed: int, lap: int, count: int) -> Int[np.ndarray, "count"]:
    """The order in which the images are shown for the `lap`-th time."""
    return np.random.default_rng((seed, ORDER, lap)).permutation(count)


def collated(views: Sequence[Labelled]) -> TrainingBatch:
    """Views of one size as a batch."""
    counts = torch.tensor([len(view.boxes) for view in views])
    return TrainingBatch(
        images=torch.from_numpy(np.stack([view.image for view in views])),
        ground_truth=GroundTruth(
            boxes=torch.from_numpy(np.concatenate([view.boxes for view in views])).float(),
            labels=torch.from_numpy(np.concatenate([view.labels for view in views])).long(),
            image=torch.arange(len(views)).repeat_interleave(counts),
            ignore=torch.from_numpy(np.concatenate([view.crowd for view in views])),
            weight=torch.ones(int(counts.sum())),
        ),
    )
