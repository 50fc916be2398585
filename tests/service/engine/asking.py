"""Requests for the engine's tests: the article's, random ones, and golden vectors as requests."""

import json
from typing import Any

from hypothesis import strategies as st

from posneg.service.engine import answer
from posneg.service.schemas.losses import parse

Json = dict[str, Any]


def ask(request: Json, *, loss: bool = True) -> Json:
    """The engine's answer to a request as JSON."""
    return answer(parse(json.dumps(request).encode()), loss=loss)


def article(**changes: Any) -> Json:
    """The article's example, with changes to the envelope."""
    image = {
        "id": "street-1",
        "size": [480, 640],
        "ground_truth": [
            {"id": "GT1", "label": "car", "box": [100, 50, 210, 150]},
            {"id": "GT2", "label": "person", "box": [300, 50, 370, 250]},
        ],
        "predictions": [
            {"id": "A", "box": [127.5, 50, 237.5, 150], "label": "car", "score": 0.9},
            {"id": "B", "box": [330, 50, 400, 250], "label": "person", "score": 0.3},
            {"id": "C", "box": [10, 50, 120, 150], "scores": {"car": 0.2, "person": 0.0}},
        ],
    }
    return {"images": [image], "classes": ["car", "person"], "preset": "textbook", **changes}


CLASSES = ["car", "person", "dog"]
coordinate = st.integers(0, 96).map(lambda n: n / 2)
extent = st.integers(0, 80).map(lambda n: n / 2)
box = st.builds(lambda x, y, w, h: [x, y, x + w, y + h], coordinate, coordinate, extent, extent)
score = st.integers(0, 16).map(lambda n: n / 16)
truth = st.builds(
    lambda b, c, i, w: {"box": b, "label": c, "ignore": i, "weight": w},
    box,
    st.sampled_from(CLASSES),
    st.sampled_from([False, False, False, True]),
    st.sampled_from([1.0, 1.0, 0.5, 2.0]),
)
sparse = st.builds(lambda b, c, s: {"box": b, "label": c, "score": s}, box, st.sampled_from(CLASSES), score)


@st.composite
def sparse_requests(draw: st.DrawFn) -> Json:
    """A few images of boxes and plain predictions, crowded and empty ones among them."""
    images = draw(
        st.lists(
            st.builds(
                lambda g, p: {"size": [64, 64], "ground_truth": g, "predictions": p},
                st.lists(truth, max_size=4),
                st.lists(sparse, max_size=6),
            ),
            max_size=3,
        )
    )
    return {"images": [{"id": n, **image} for n, image in enumerate(images)], "classes": CLASSES}


@st.composite
def dense_requests(draw: st.DrawFn) -> Json:
    """A head with bins on a small grid: logits and distributions, the same columns in every image."""
    logit = st.integers(-12, 12).map(lambda n: n / 2)
    cells = 16 + 4 + 1
    images = []
    for number in range(draw(st.integers(1, 2))):
        logits = draw(st.lists(st.lists(logit, min_size=3, max_size=3), min_size=cells, max_size=cells))
        sides = draw(st.lists(st.lists(logit, min_size=4, max_size=4), min_size=4, max_size=4))
        dfl = [[[v + (n + k) % 5 for k, v in enumerate(side)] for side in sides] for n in range(cells)]
        images.append(
            {
                "id": f"image-{number}",
                "size": [32, 32],
                "ground_truth": draw(st.lists(truth, max_size=4)),
                "predictions": {"logits": logits, "dfl": dfl, "grid": {"strides": [8, 16, 32]}},
            }
        )
    return {"images": images, "classes": CLASSES}


EDGES: dict[str, Json] = {
    "no images": {"images": []},
    "nothing in the image": {"images": [{"id": 1, "ground_truth": [], "predictions": []}]},
    "no ground truth": {
        "images": [
            {"id": 1, "ground_truth": [], "predictions": [{"box": [0, 0, 9, 9], "label": "car", "score": 1}]}
        ]
    },
    "no predictions": {
        "images": [{"id": 1, "ground_truth": [{"box": [0, 0, 9, 9], "label": "car"}], "predictions": []}]
    },
    "all ignored": {
        "images": [
            {
                "id": 1,
                "ground_truth": [{"box": [0, 0, 9, 9], "label": "car", "ignore": True}],
                "predictions": [{"box": [0, 0, 9, 9], "label": "car", "score": 0}],
            }
        ]
    },
    "boxes without area": {
        "images": [
            {
                "id": 1,
                "ground_truth": [
                    {"box": [5, 5, 5, 5], "label": "car"},
                    {"box": [9, 9, 2, 2], "label": "dog"},
                ],
                "predictions": [
                    {"box": [5, 5, 5, 5], "label": "car", "score": 0.5},
                    {"box": [9, 9, 2, 2], "label": "car", "score": 0.5},
                ],
            }
        ]
    },
    "logits of 1e4": {
        "images": [
            {
                "id": 1,
                "size": [32, 32],
                "ground_truth": [{"box": [2, 2, 30, 30], "label": "car"}],
                "predictions": {
                    "boxes": [[0, 0, 32, 32], [2, 2, 30, 30]],
                    "logits": [[1e4, -1e4, 0], [-1e4, 1e4, 1e4]],
                },
            }
        ]
    },
}
"""What must be answered, finite and explained, whatever the preset."""
