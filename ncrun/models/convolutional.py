"""What the convolutional networks have in common: their keys, and what follows from these."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from ncrun.models.spec import ModelSpec


@dataclass(frozen=True)
class Convolutional(ModelSpec):
    """width: multiplies the channels of every stage.
    feature_norm: true, a BatchNorm on the pooled features, as released with Dang et al. 2023, which makes their sign
    free; false, none, so the features follow a ReLU and are never negative, as released with Dang et al. 2024.

    millions: of parameters, at width 1.
    """

    width: float = 1.0
    feature_norm: bool = True

    needs_images: ClassVar[bool] = True
    millions: ClassVar[float]

    @property
    @abstractmethod
    def stage_widths(self) -> tuple[int, ...]:
        """Channels of the stages under the multiplier, the last being the features'."""

    @property
    def feature_width(self) -> int:
        return self.stage_widths[-1]

    @property
    def feature_sign(self) -> str:
        return "free" if self.feature_norm else "nonnegative"

    @property
    def has_batch_norm(self) -> bool:
        return True

    def num_parameters(self, image_shape: tuple[int, int, int]) -> int:
        return round(1e6 * self.millions * self.width**2)

    def scaled(self, widths: tuple[int, ...]) -> tuple[int, ...]:
        """These widths under the multiplier, none below 1."""
        return tuple(max(1, round(width * self.width)) for width in widths)
