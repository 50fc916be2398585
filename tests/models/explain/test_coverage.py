"""Which boxes points reach: against every point of the grid, one by one."""

import subprocess
import sys
from itertools import product
from math import ceil

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from posneg.models.explain.coverage import HALVINGS, candidates, placed, reaching_stride

number = st.integers(-40, 200).map(lambda n: n / 4) | st.floats(-10, 60)
boxes = st.lists(st.tuples(number, number, number, number), max_size=5).map(
    lambda rows: np.array([[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in rows]).reshape(
        -1, 4
    )
)
strides = st.lists(st.sampled_from([1.0, 3.0, 4.0, 8.0, 10.5, 16.0]), min_size=1, max_size=3)
side = st.integers(1, 48).map(float)


def counted(box, size, levels):
    """Every point, compared."""
    left, top, right, bottom = box
    found = 0
    for stride in levels:
        across, down = (range(ceil(length / stride)) for length in (size[1], size[0]))
        for i, j in product(across, down):
            x, y = (i + 0.5) * stride, (j + 0.5) * stride
            found += left < x < right and top < y < bottom
    return found


@given(boxes=boxes, size=st.tuples(side, side), levels=strides)
def test_candidates_are_the_points_strictly_inside(boxes, size, levels) -> None:
    """As a loop over all points finds them, borders and edges of the grid included."""
    assert candidates(boxes, size, levels).tolist() == [counted(box, size, levels) for box in boxes]


@given(boxes=boxes, size=st.tuples(side, side), stride=st.sampled_from([4.0, 8.0, 10.5]))
def test_a_reaching_stride_is_the_first_halving_that_reaches(boxes, size, stride) -> None:
    """The stride is halved again and again; where none of that reaches there is none."""
    missed = boxes[candidates(boxes, size, [stride]) == 0]
    halvings = [stride / 2**times for times in range(1, HALVINGS + 1)]

    for box, found in zip(missed, reaching_stride(missed, size, stride), strict=True):
        reaching = [half for half in halvings if candidates(box[None], size, [half])[0]]
        assert found == reaching[0] if reaching else np.isnan(found)


def test_what_no_grid_can_hold_is_reached_by_nothing() -> None:
    """NaN, infinities and huge numbers count as far as they are boxes."""
    odd = np.array(
        [[np.nan, 0, 9, 9], [np.nan] * 4, [-np.inf, -np.inf, np.inf, np.inf], [1e308, 0, 1.5e308, 9]]
    )

    assert candidates(odd, (16.0, 16.0), [8.0]).tolist() == [0, 0, 4, 0]


def test_images_are_scaled_by_their_tighter_side_and_centred() -> None:
    """A wide image leaves bands above and below, unrounded; a whole image fills the rest."""
    sizes = np.array([[30.0, 40.0], [40.0, 30.0], [7.0, 9.0]])
    whole = np.array([[0.0, 0.0, 40.0, 30.0], [0.0, 0.0, 30.0, 40.0], [0.0, 0.0, 9.0, 7.0]])

    found = placed(whole, sizes, (80.0, 80.0))

    assert found[:2].tolist() == [[0, 10, 80, 70], [10, 0, 70, 80]]
    np.testing.assert_allclose(found[2], [0, 40 - 280 / 9, 80, 40 + 280 / 9])


def test_torch_is_not_needed() -> None:
    """It is ground truth and arithmetic."""
    script = "import sys; import posneg.models.explain.coverage; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
