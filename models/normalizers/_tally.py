"""What normalizers count."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from posneg.models.types import Assignment, Batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """A batch, its assignment, and each prediction's classification target, to be summed up.

    `by_image` asks for one value an image, else one for the batch.
    """

    batch: Batch
    assignment: Assignment
    targets: Float[Tensor, "N"]
    by_image: bool

    def over_predictions(self, values: Tensor) -> Float[Tensor, "S"]:
        """Sums of one value for each prediction."""
        return self._sums(values, self.batch.predictions.image)

    def over_ground_truth(self, values: Tensor) -> Float[Tensor, "S"]:
        """Sums of one value for each ground truth."""
        return self._sums(values, self.batch.ground_truth.image)

    def over_images(self, value: float) -> Float[Tensor, "S"]:
        """Sums of one value for each image."""
        if self.by_image:
            return self.targets.new_full((self.batch.images,), value)
        return self.targets.new_full((1,), value * self.batch.images)

    def _sums(self, values: Tensor, image: Int[Tensor, "R"]) -> Float[Tensor, "S"]:
        values = values.to(self.targets.dtype)
        if not self.by_image:
            return values.sum(0, keepdim=True)
        return values.new_zeros(self.batch.images).index_add(0, image, values)
