"""What the images of a request come out as."""

import json
from typing import Any

import numpy as np
import pytest

from posneg.service.schemas.loss_request import EXAMPLE
from posneg.service.schemas.losses import parse
from tests.service.schemas.requests import GRID, HEAD, Json, changed, read, without


def one(ground_truth: list[Json] | None = None, predictions: Any = None, **image: Any) -> Json:
    """A request of one image and nothing else."""
    return {"images": [{"ground_truth": ground_truth or [], "predictions": predictions or [], **image}]}


def test_the_article_comes_out_as_sent() -> None:
    """Ids, boxes, labels, scores given and not given, and every option."""
    found = read(EXAMPLE)
    image = found.images[0]

    assert (image.id, image.size, image.grid) == ("street-1", (480.0, 640.0), False)
    assert image.ground_truth.ids == ["GT1", "GT2"]
    assert image.ground_truth.labels.tolist() == [0, 1]
    assert image.ground_truth.boxes.tolist() == [[100, 50, 210, 150], [300, 50, 370, 250]]
    assert image.ground_truth.weight.tolist() == [1, 1]
    assert not image.ground_truth.ignore.any()
    assert (image.predictions.dense, image.predictions.count) == (False, 3)
    assert image.predictions.ids == ["A", "B", "C"]
    assert image.predictions.labels is not None
    assert image.predictions.labels.tolist() == [0, 1, 0]
    assert image.predictions.columns["scores"].tolist() == [[0.9, 0], [0, 0.3], [0.2, 0]]
    assert image.predictions.given is not None
    assert image.predictions.given.tolist() == [[True, False], [False, True], [True, True]]
    assert found.classes == ["car", "person"]
    assert (found.box_format, found.preset, found.dtype, found.detail) == (
        "xyxy",
        "textbook",
        "float64",
        "full",
    )
    assert found.assigner == {"topk": 13}
    assert found.loss["box"] == {"name": "smooth_l1", "beta": 1.0}
    assert (found.gradients, found.group_by, found.notices) == (False, [], [])


def test_defaults_stand_in_for_what_is_left_out_or_null() -> None:
    """Null is absent; an image without anything is an image."""
    empty = read({"images": []})
    nulls = read({"images": [{"id": None, "size": None}], "classes": None, "preset": None, "grid": None})

    assert (empty.images, empty.classes, empty.preset, empty.box_format) == ([], [], None, "xyxy")
    assert nulls.images[0].id == 0
    assert nulls.images[0].predictions.count == 0
    assert nulls.images[0].ground_truth.boxes.shape == (0, 4)


def test_classes_are_inferred_in_the_order_of_their_first_use() -> None:
    """Ground truth before predictions, image by image, whatever the names' order in the alphabet."""
    request = without(EXAMPLE, ("classes",))
    request = changed(request, ("images", 0, "ground_truth", 0, "label"), "zebra")

    found = read(request)

    assert found.classes == ["zebra", "person", "car"]
    assert found.images[0].predictions.columns["scores"].shape == (3, 3)


def test_numbers_without_a_list_make_classes_up_to_the_largest() -> None:
    """Numbered labels are their own names, also as keys of `scores`, whichever comes first."""
    first = {"box": [0, 0, 1, 1], "scores": {"0": 0.5, "4": 0.25}}
    request = {"images": [{"predictions": [first]}, one([{"box": [0, 0, 1, 1], "label": 2}])["images"][0]]}

    found = read(request)

    assert found.classes == ["0", "1", "2", "3", "4"]
    assert found.images[0].predictions.columns["scores"].tolist() == [[0.5, 0, 0, 0, 0.25]]


def test_numbers_lead_into_a_list_of_classes() -> None:
    """With `classes`, numbers and names are both understood, in one request."""
    request = changed(EXAMPLE, ("images", 0, "ground_truth", 1, "label"), 1)

    assert read(request).images[0].ground_truth.labels.tolist() == [0, 1]


def test_the_label_of_scores_is_the_highest_unless_it_is_named() -> None:
    """NaN is not the highest."""
    scores = {"car": float("nan"), "person": 0.1}
    plain = [{"box": [0, 0, 1, 1], "scores": scores}, {"box": [0, 0, 1, 1], "scores": scores, "label": "car"}]

    found = read({**one(predictions=plain), "classes": ["car", "person"]})

    assert found.images[0].predictions.labels is not None
    assert found.images[0].predictions.labels.tolist() == [1, 0]


def test_ground_truth_keeps_weight_ignore_and_soft_label() -> None:
    """0 and 1 are taken for false and true."""
    box = [0, 0, 1, 1]
    boxes = [
        {"label": "a", "box": box, "ignore": True, "weight": 0},
        {"label": "a", "box": box, "ignore": 0, "weight": 2.5, "soft_label": {"a": 1, "b": 0.25}},
    ]

    found = read(one(boxes))

    assert found.classes == ["a", "b"]
    assert found.images[0].ground_truth.ignore.tolist() == [True, False]
    assert found.images[0].ground_truth.weight.tolist() == [0, 2.5]
    assert found.images[0].ground_truth.soft_labels == [None, {"a": 1.0, "b": 0.25}]


def test_nonfinite_numbers_are_data() -> None:
    """NaN and the infinities pass where numbers are measured or predicted, in lists and columns."""
    text = json.dumps(EXAMPLE).replace("127.5", "NaN").replace("0.3", "Infinity").replace("330", "-Infinity")
    head = changed(HEAD, ("images", 0, "predictions", "logits", 2, 1), float("-inf"))

    sparse, dense = parse(text.encode()).images[0].predictions, read(head).images[0].predictions

    assert np.isnan(sparse.columns["boxes"][0, 0])
    assert sparse.columns["boxes"][1, 0] == -np.inf
    assert sparse.columns["scores"][1, 1] == np.inf
    assert dense.columns["logits"][2, 1] == -np.inf


def test_both_parsers_give_the_same_values() -> None:
    """A body that the fast parser refuses for one NaN reads as it does with a number there."""
    text = json.dumps(HEAD)
    fast, slow = parse(text.encode()), parse(text.replace("[4, 4]", "[NaN, 4]").encode())

    for name, column in fast.images[0].predictions.columns.items():
        same = slow.images[0].predictions.columns[name]
        np.testing.assert_array_equal(column[1:], same[1:])
        assert column.dtype == same.dtype == np.float64


def test_degenerate_boxes_pass() -> None:
    """Zero area and inverted corners are explained later, not refused."""
    boxes = [{"label": 0, "box": [5, 5, 5, 5]}, {"label": 0, "box": [9, 9, 1, 1]}]

    assert read(one(boxes)).images[0].ground_truth.boxes.tolist() == [[5, 5, 5, 5], [9, 9, 1, 1]]


def test_a_grid_lays_points_in_raster_order_level_by_level() -> None:
    """x runs fastest; a stride that does not divide the size has one more cell; centres by default."""
    columns = {"boxes": [[0, 0, 1, 1]] * 8, "logits": [[0]] * 8, "grid": {"strides": [8, 16]}}

    found = read(one(predictions=columns, size=[16, 20])).images[0]

    assert found.grid
    points = [[4, 4], [12, 4], [20, 4], [4, 12], [12, 12], [20, 12], [8, 8], [24, 8]]
    assert found.predictions.columns["points"].tolist() == points
    assert found.predictions.columns["strides"].tolist() == [8] * 6 + [16] * 2


def test_an_explicit_offset_is_not_moved() -> None:
    """With `grid.offset` the points are where the caller put them; so are points that were sent."""
    request = changed(GRID, ("images", 0, "predictions", "grid", "offset"), 0)

    found = read(request).images[0]

    assert not found.grid
    assert found.predictions.columns["points"].tolist() == [[0, 0], [8, 0], [0, 8], [8, 8]]
    assert not read(HEAD).images[0].grid


@pytest.mark.parametrize("path", [("grid",), ("images", 0, "grid")])
def test_a_grid_may_stand_beside_the_columns(path: tuple[str | int, ...]) -> None:
    """Of the image, or of the request for all images; columns with points or anchors keep theirs."""
    bare = without(GRID, ("images", 0, "predictions", "grid"))

    laid = read(changed(bare, path, {"strides": [8]})).images[0]
    kept = read(changed(HEAD, path, {"strides": [8]})).images[0]

    assert laid.grid
    assert laid.predictions.columns["strides"].tolist() == [8] * 4
    assert kept.predictions.columns["points"].tolist() == HEAD["images"][0]["predictions"]["points"]


def test_columns_come_out_as_arrays_of_their_shapes() -> None:
    """Distributions keep their three axes, rows that were sampled are whole numbers."""
    found = read(HEAD).images[0].predictions

    assert (found.dense, found.count, found.ids, found.given) == (True, 5, [], None)
    assert found.columns["dfl"].shape == (5, 4, 3)
    assert found.columns["logits"].shape == (5, 2)
    assert found.columns["strides"].shape == (5,)
    assert found.sampled is not None
    assert found.sampled.tolist() == [0, 3]
    assert all(column.flags.writeable for column in found.columns.values())


def test_a_softmax_may_have_one_column_more_than_classes() -> None:
    """C and C + 1 are both taken."""
    wide = [[0, 1, 2]] * 4

    assert read(changed(GRID, ("images", 0, "predictions", "logits"), wide)).classes == ["x", "y"]


def test_columns_without_a_list_of_classes_say_how_many_there_are() -> None:
    """Numbers name them; names take the columns in the order of first use, and a notice says so."""
    bare = without(GRID, ("classes",))
    named = read(bare)
    numbered = read(changed(bare, ("images", 0, "ground_truth", 0, "label"), 1))

    assert named.classes == ["x", "1"]
    assert [notice.code for notice in named.notices] == ["CLASSES_INFERRED"]
    assert numbered.classes == ["0", "1"]
    assert numbered.notices == []


@pytest.mark.parametrize("nothing", [[], None, {"boxes": [], "logits": []}])
def test_an_image_without_predictions_has_the_columns_of_the_others(nothing: Any) -> None:
    """Zero rows, as wide as elsewhere, in whatever way nothing was said."""
    columns = without(GRID, ("images", 0, "predictions", "grid"))["images"][0]
    request = {"images": [{"id": "empty", "predictions": nothing}, columns], "classes": ["x", "y"]}

    found = read(request).images[0].predictions

    assert (found.dense, found.count) == (True, 0)
    assert {name: c.shape for name, c in found.columns.items()} == {"boxes": (0, 4), "logits": (0, 2)}


def test_columns_of_no_rows_alone_are_a_request() -> None:
    """A head that found nothing anywhere; as many class scores as there are classes."""
    nothing = {"boxes": [], "scores": [], "dfl": [], "points": [], "strides": []}

    found = read({**one(predictions=nothing), "classes": ["a", "b"]}).images[0].predictions

    assert found.columns["scores"].shape == (0, 2)
    assert found.columns["dfl"].shape[:2] == (0, 4)


def test_a_byte_order_mark_is_passed_over() -> None:
    """Some editors write one."""
    assert parse(b'\xef\xbb\xbf{"images": []}').images == []


def test_zeros_and_ones_are_numbers_beside_booleans_that_are_none() -> None:
    """Rows of nothing but 0 and 1 are read in full."""
    hot = [[0, 1], [1, 0], [1.0, 0.0], [0, 0]]
    request = changed(GRID, ("images", 0, "predictions", "logits"), hot)

    assert read(request).images[0].predictions.columns["logits"].tolist() == hot
