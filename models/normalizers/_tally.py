"""What normalizers count."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from posneg.models.types import Assignment, Batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """A batch, its assignment, and columns of the predictions, to be summed up.

    `targets` and `centerness` are 0 but for positives; `row_weights` is the weight of each row's class.
    `by_image` asks for one value an image, else one for the batch.
    """

    batch: Batch
    assignment: Assignment
    targets: Float[Tensor, "N"]
    centerness_of: Callable[[], Float[Tensor, "N"]]
    row_weights_of: Callable[[], Float[Tensor, "N"]]
    by_image: bool

    @property
    def centerness(self) -> Float[Tensor, "N"]:
        """The centerness targets, computed when asked for."""
        return self.centerness_of()

    @property
    def row_weights(self) -> Float[Tensor, "N"]:
        """The weight of each row's class, computed when asked for."""
        return self.row_weights_of()

    def over_predictions(self, values: Tensor) -> Float[Tensor, "S"]:
        """Sums of one value for each prediction."""
        return self._sums(values, self.batch.predictions.image)

    def over_ground_truth(self, values: Tensor) -> Float[Tensor, "S"]:
        """Sums of one value for each ground truth."""
        return self._sums(values, self.batch.ground_truth.image)

    def over_images(self, values: Float[Tensor, "B"]) -> Float[Tensor, "S"]:
        """Sums of one value for each image."""
        return values if self.by_image else values.sum(0, keepdim=True)

    @property
    def positives_by_image(self) -> Float[Tensor, "B"]:
        """How many positives each image has."""
        positive = self.assignment.positive.to(self.targets.dtype)
        empty = positive.new_zeros(self.batch.images)
        return empty.index_add(0, self.batch.predictions.image, positive)

    def _sums(self, values: Tensor, image: Int[Tensor, "R"]) -> Float[Tensor, "S"]:
        values = values.to(self.targets.dtype)
        if not self.by_image:
            return values.sum(0, keepdim=True)
        return values.new_zeros(self.batch.images).index_add(0, image, values)
