"""Views of labelled images: what the pixels do, the boxes do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posneg.models.data.augmentation import Augmentation, Labelled, mosaic, single
from posneg.models.imaging import FILL, letterbox
from posneg.models.registry import InvalidOptions

SIZE = (96, 128)
COLOURS = np.array([[250, 10, 10], [10, 250, 10], [10, 10, 250]], np.uint8)
PLAIN_COLOURS = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
seeds = st.integers(0, 2**32 - 1)


def painted(height: int = 72, width: int = 128) -> Labelled:
    """Three rectangles, each in the colour of its label, on black; the box is exactly what is painted."""
    image = np.zeros((height, width, 3), np.uint8)
    boxes = np.array([[8, 8, 40, 32], [60, 20, 80, 60], [90, 4, 120, 30]], float)
    for (x1, y1, x2, y2), colour in zip(boxes.astype(int), COLOURS, strict=True):
        image[y1:y2, x1:x2] = colour
    return Labelled(image=image, boxes=boxes, labels=np.arange(3), crowd=np.array([False, True, False]))


def views(seed: int, options: Augmentation) -> list[Labelled]:
    """A view of one image and a mosaic."""
    return [
        single(painted(), SIZE, options, np.random.default_rng(seed)),
        mosaic([painted()] * 4, SIZE, options, np.random.default_rng(seed)),
    ]


@given(seed=seeds)
def test_boxes_follow_the_pixels(seed: int) -> None:
    """Every box of a view holds its own colour, up to its rim, whatever was done to the view."""
    options = Augmentation(flip_vertical=0.5, **PLAIN_COLOURS)
    for view in views(seed, options):
        for (x1, y1, x2, y2), label in zip(view.boxes, view.labels, strict=True):
            inner = view.image[int(np.ceil(y1 + 2)) : int(y2 - 2), int(np.ceil(x1 + 2)) : int(x2 - 2)]
            assert (inner.argmax(axis=2) == label).all()
            if inner.size:
                assert inner.max(axis=2).min() > 180


@given(seed=seeds)
def test_views_have_the_size_and_their_boxes_lie_inside(seed: int) -> None:
    """Nothing sticks out, labels and crowd marks stay with their boxes."""
    for view in views(seed, Augmentation(flip_vertical=0.5)):
        assert view.image.shape == (*SIZE, 3)
        assert (view.boxes >= 0).all()
        assert (view.boxes <= np.tile(SIZE[::-1], 2)).all()
        assert (view.boxes[:, 2:] > view.boxes[:, :2]).all()
        assert (view.crowd == (view.labels == 1)).all()


@given(seed=seeds)
def test_a_view_is_a_function_of_its_generator(seed: int) -> None:
    """The same seed gives the same view, to the pixel."""
    for first, second in zip(views(seed, Augmentation()), views(seed, Augmentation()), strict=True):
        np.testing.assert_array_equal(first.image, second.image)
        np.testing.assert_array_equal(first.boxes, second.boxes)


@given(seed=seeds, height=st.integers(8, 96))
def test_without_augmentation_a_view_is_the_letterbox(seed: int, height: int) -> None:
    """What an overfit run trains on is what evaluation and serving see."""
    example = painted(height=96)
    example = Labelled(
        image=example.image[:height],
        boxes=example.boxes[:0],
        labels=example.labels[:0],
        crowd=example.crowd[:0],
    )
    view = single(example, SIZE, Augmentation.none(), np.random.default_rng(seed))
    boxed, _ = letterbox(example.image, SIZE)

    np.testing.assert_array_equal(view.image, boxed)


def test_a_box_that_is_mostly_cropped_is_left_out() -> None:
    """A sliver at the rim is nothing to look for; a whole box is kept, however small."""
    sliver = Labelled(
        image=np.zeros((96, 128, 3), np.uint8),
        boxes=np.array([[0, 40, 100, 60], [60, 50, 61, 51]], float),
        labels=np.array([0, 1]),
        crowd=np.zeros(2, bool),
    )
    options = Augmentation(**PLAIN_COLOURS, scale=(4.0, 4.0), aspect=0.0, flip_horizontal=0.0)
    kept = [
        set(single(sliver, SIZE, options, np.random.default_rng(seed)).labels.tolist()) for seed in range(40)
    ]

    assert {0} in kept
    assert set() in kept
    assert any(1 in labels for labels in kept)


def test_colours_change_but_grey_stays_grey_without_brightness() -> None:
    """Hue and saturation leave grey pixels alone; an image of one grey stays of one colour."""
    grey = Labelled(
        image=np.full((*SIZE, 3), FILL, np.uint8),
        boxes=np.empty((0, 4)),
        labels=np.empty(0, np.int64),
        crowd=np.empty(0, bool),
    )
    options = Augmentation(**{**PLAIN_COLOURS, "saturation": 1.0, "hue": 180.0})
    view = single(grey, SIZE, options, np.random.default_rng(0))
    changed = single(painted(), SIZE, options, np.random.default_rng(0))
    same = single(painted(), SIZE, Augmentation(**PLAIN_COLOURS), np.random.default_rng(0))

    assert np.abs(view.image.astype(int) - FILL).max() <= 1
    assert np.abs(changed.image.astype(int) - same.image).max() > 50


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"mosaic": 1.5}, "mosaic"),
        ({"scale": [2, 1]}, "scale"),
        ({"scale": [1]}, "scale"),
        ({"hue": "red"}, "hue"),
        ({"rotate": 90}, "rotate"),
    ],
)
def test_options_that_do_not_fit_are_named(options: dict[str, object], path: str) -> None:
    """The message says which option, and why."""
    with pytest.raises(InvalidOptions) as caught:
        Augmentation.of(options)

    assert [problem.path for problem in caught.value.problems] == [(path,)]
