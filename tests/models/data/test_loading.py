"""Training batches: a pure function of seed and step."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from posneg.models.data.augmentation import Augmentation
from posneg.models.data.dataset import Sample
from posneg.models.data.loading import Examples, Loader, TrainingBatch, read_image
from posneg.models.data.shapes import generate
from posneg.models.imaging import ImageError, letterbox

SIZE = (64, 64)
BATCH_SIZE = 4
IMAGES = 6


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sample, ...]:
    """Some of the generated shapes."""
    return generate(tmp_path_factory.mktemp("data") / "shapes", images={"train": IMAGES}).splits["train"]


def loader(samples: tuple[Sample, ...], *, seed: int = 0, workers: int = 0, cache_mib: int = 64) -> Loader:
    return Loader(
        Examples(samples, SIZE, cache_mib=cache_mib),
        batch_size=BATCH_SIZE,
        seed=seed,
        augmentation=Augmentation(),
        workers=workers,
    )


def assert_same(a: TrainingBatch, b: TrainingBatch) -> None:
    assert torch.equal(a.images, b.images)
    for name in ("boxes", "labels", "image", "ignore", "weight"):
        assert torch.equal(getattr(a.ground_truth, name), getattr(b.ground_truth, name))


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("cache_mib", [0, 64])
def test_workers_and_cache_change_no_batch(samples: tuple[Sample, ...], workers: int, cache_mib: int) -> None:
    """Batches come out alike, also across the end of the mosaics."""
    with loader(samples, workers=workers, cache_mib=cache_mib) as ahead, loader(samples) as alone:
        for step in range(6):
            mosaics = step < 4
            assert_same(ahead.batch(step, mosaics=mosaics), alone.batch(step, mosaics=mosaics))


def test_a_batch_does_not_depend_on_those_before(samples: tuple[Sample, ...]) -> None:
    """A resumed run gets what the untouched one would have got."""
    with loader(samples) as untouched, loader(samples) as resumed:
        for step in range(4):
            untouched.batch(step, mosaics=True)
        assert_same(untouched.batch(4, mosaics=True), resumed.batch(4, mosaics=True))


def test_every_image_is_shown_once_before_any_is_shown_again(samples: tuple[Sample, ...]) -> None:
    """In each lap over the data, in an order of its own."""
    counting = loader(samples)
    shown: list[int] = []

    class Noting(Examples):
        def __getitem__(self, index: int):
            shown.append(index)
            return super().__getitem__(index)

    counting.examples = Noting(samples, SIZE)
    for number in range(3 * IMAGES):
        counting.sample(number, mosaics=False)
    laps = [shown[first : first + IMAGES] for first in range(0, len(shown), IMAGES)]

    assert all(sorted(lap) == list(range(IMAGES)) for lap in laps)
    assert laps[0] != laps[1]


def test_seeds_differ(samples: tuple[Sample, ...]) -> None:
    """Another seed, other views."""
    first, second = (loader(samples, seed=seed).batch(0, mosaics=True) for seed in (0, 1))

    assert not torch.equal(first.images, second.images)


def test_evaluation_sees_the_letterboxed_file(samples: tuple[Sample, ...]) -> None:
    """The cached image and its placement are `letterbox`'s of the file."""
    examples = Examples(samples, (64, 96))
    for index, sample in enumerate(samples):
        for _ in range(2):  # from the disk, then from the cache
            pixels, placement = examples.letterboxed(index)
            expected, expected_placement = letterbox(read_image(sample), (64, 96))
            np.testing.assert_array_equal(pixels, expected)
            assert placement == expected_placement


def test_boxes_below_one_pixel_are_left_out(tmp_path: Path) -> None:
    """They would be noise to whatever point they are matched with."""
    file = tmp_path / "wide.png"
    Image.new("RGB", (640, 64)).save(file)
    sample = Sample(
        id=1,
        file=file,
        size=(64, 640),
        boxes=np.array([[0, 0, 9, 9], [10, 10, 30, 30]], float),
        labels=np.array([0, 1]),
        crowd=np.zeros(2, bool),
    )
    example = Examples([sample], SIZE)[0]

    assert example.labels.tolist() == [1]
    assert example.boxes.tolist() == [[1, pytest.approx(60 / 64), 3, pytest.approx(180 / 64)]]


def test_a_file_that_changed_is_named(tmp_path: Path, samples: tuple[Sample, ...]) -> None:
    """Training on boxes that belong to another image would only waste time."""
    file = tmp_path / "other.png"
    Image.new("RGB", (20, 10)).save(file)
    wrong = Sample(
        id=1,
        file=file,
        size=(10, 21),
        boxes=np.empty((0, 4)),
        labels=np.empty(0, np.int64),
        crowd=np.empty(0, bool),
    )
    with pytest.raises(ImageError, match=r"other\.png.*\(10, 20\).*\(10, 21\)"):
        read_image(wrong)
    file.write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"other\.png"):
        read_image(wrong)


def test_no_images_are_refused() -> None:
    """There is nothing to make a batch of."""
    with pytest.raises(ValueError, match="no images"):
        loader(())
