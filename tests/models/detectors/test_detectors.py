"""What every detector of the registry keeps to; none is named here, so that a new one is tested at once."""

from pathlib import Path

import jaxtyping
import pytest
import torch

from posneg.models.criterion import criterion
from posneg.models.detectors import detector
from posneg.models.detectors._contract import Detector
from posneg.models.export.onnx import export
from posneg.models.export.parity import parity
from posneg.models.presets import resolve
from posneg.models.types import Batch, GroundTruth

CLASSES = 3
IMAGES = 2

names = pytest.mark.parametrize("name", list(detector))


def network(name: str) -> Detector:
    """A new network, always with the same weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return detector[name](classes=CLASSES)


def images(height: int, width: int) -> torch.Tensor:
    return torch.rand(IMAGES, 3, height, width, generator=torch.Generator().manual_seed(1))


def truth(boxes: int) -> GroundTruth:
    """Boxes of 16 to 94 px over both images, where there are any, so that every stride has its own."""
    side = torch.linspace(16, 94, boxes)[:, None].expand(boxes, 2)
    corner = (96 - side) / 2
    return GroundTruth(
        boxes=torch.cat([corner, corner + side], 1),
        labels=torch.arange(boxes) % CLASSES,
        image=torch.arange(boxes) * IMAGES // max(boxes, 1),
        ignore=torch.zeros(boxes, dtype=torch.bool),
        weight=torch.ones(boxes),
    )


@names
@pytest.mark.parametrize("size", [(64, 64), (96, 160)])
def test_every_stage_has_the_shapes_of_the_contract(name: str, size: tuple[int, int]) -> None:
    """One row a point, image after image, points inside the image, finite from the first step on."""
    model = network(name)
    raw = model(images(*size))
    predictions = model.predictions(raw)
    boxes, scores = model.decode(raw)

    count = boxes.shape[1]
    assert boxes.shape == (IMAGES, count, 4)
    assert scores.shape == (IMAGES, count, CLASSES)
    assert predictions.boxes.shape == (IMAGES * count, 4)
    assert predictions.image.tolist() == [i for i in range(IMAGES) for _ in range(count)]
    assert (predictions.points > 0).all()
    assert (predictions.points < torch.tensor([size[1], size[0]])).all()
    assert model.stride == predictions.strides.max()
    for values in (boxes, scores, predictions.boxes):
        assert values.isfinite().all()


@names
def test_what_is_trained_is_what_is_decoded(name: str) -> None:
    """`decode` gives the boxes and the probabilities that `predictions` hands to the criterion."""
    model = network(name).eval()
    raw = model(images(64, 96))
    predictions = model.predictions(raw)
    boxes, scores = model.decode(raw)

    torch.testing.assert_close(boxes.flatten(0, 1), predictions.boxes)
    torch.testing.assert_close(scores.flatten(0, 1), predictions.scores.all_probabilities)


@names
@pytest.mark.parametrize("boxes", [0, 12])
def test_every_parameter_learns_from_every_batch(name: str, boxes: int) -> None:
    """Each parameter gets a finite gradient, also from a batch without any ground truth."""
    model = network(name).train()
    predictions = model.predictions(model(images(96, 96)))
    whole = Batch(predictions=predictions, ground_truth=truth(boxes), images=IMAGES)
    criterion(resolve("yolov8"), whole).total.backward()

    for parameter, values in model.named_parameters():
        assert values.grad is not None, parameter
        assert values.grad.isfinite().all(), parameter
    learning = [parameter for parameter, values in model.named_parameters() if values.grad.any()]
    assert learning
    assert boxes == 0 or len(learning) == len(list(model.parameters()))


@names
def test_scores_begin_low(name: str) -> None:
    """The prior keeps the sea of negatives from drowning the first steps."""
    _, scores = (model := network(name)).decode(model(images(64, 64)))

    assert scores.mean() < 0.05


@names
def test_an_image_is_decoded_alike_alone_and_in_a_batch(name: str) -> None:
    """In evaluation no image sees another."""
    model = network(name).eval()
    batch = images(64, 64)
    with torch.no_grad():
        boxes, scores = model.decode(model(batch))
        for index in range(IMAGES):
            alone_boxes, alone_scores = model.decode(model(batch[index : index + 1]))
            torch.testing.assert_close(alone_boxes[0], boxes[index], atol=1e-3, rtol=1e-4)
            torch.testing.assert_close(alone_scores[0], scores[index], atol=1e-5, rtol=1e-4)


@names
def test_the_same_seed_gives_the_same_network(name: str) -> None:
    """Weights come from torch's generator and nowhere else."""
    first, second = network(name).state_dict(), network(name).state_dict()

    assert all(torch.equal(first[key], second[key]) for key in first)


@names
def test_the_export_answers_like_the_network(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the registry has can be served: ONNX, any batch, within the parity report's tolerances."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # its checks pin a symbolic batch size
    model = network(name)
    model(images(64, 64))  # running statistics that are not those of a new layer
    file = tmp_path / "model.onnx"
    export(model, labels=["a", "b", "c"], input_size=(64, 64), file=file)
    pictures = [(image * 255).byte().permute(1, 2, 0).numpy() for image in images(64, 64)]

    assert parity(model, file, pictures).ok
