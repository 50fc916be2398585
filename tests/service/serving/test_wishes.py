"""How a query names labels and sizes."""

import pytest

from posneg.service.errors import InvalidRequest
from posneg.service.serving.wishes import read_input_size, read_labels


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        (["a,b, c"], ("a", "b", "c")),
        (['["a, b", "c"]'], ("a, b", "c")),
        (["a, b", "c"], ("a, b", "c")),
        (["one"], ("one",)),
    ],
)
def test_labels_are_comma_separated_repeated_or_a_list(given, expected):
    """A name with a comma needs one of the latter two."""
    assert read_labels(given) == expected


@pytest.mark.parametrize("given", [[""], ["a,,b"], ["[1, 2]"], ["[]"], ["["], [","]])
def test_labels_that_are_none_are_refused(given):
    """With a pointer to the parameter."""
    with pytest.raises(InvalidRequest) as refusal:
        read_labels(given)

    assert refusal.value.faults[0].pointer == "/query/labels"


@pytest.mark.parametrize("given", ["480,640", "480x640", "[480, 640]", " 480, 640 "])
def test_a_size_is_height_and_width(given):
    """In this order, as everywhere."""
    assert read_input_size(given) == (480, 640)


def test_one_side_is_a_square():
    """The usual case."""
    assert read_input_size("640") == (640, 640)
    assert read_input_size(None) is None


@pytest.mark.parametrize("given", ["", "0", "-1", "640,", "1,2,3", "big", "9999999", "6.5", "²"])
def test_sizes_that_are_none_are_refused(given):
    """With a pointer to the parameter."""
    with pytest.raises(InvalidRequest) as refusal:
        read_input_size(given)

    assert refusal.value.faults[0].pointer == "/query/input_size"
