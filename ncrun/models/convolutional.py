"""The common part of convolutional networks: their keys, and widths computed from them."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from ncrun.models.spec import ModelSpec


@dataclass(frozen=True)
class Convolutional(ModelSpec):
    """width: factor on the channels of every stage.
    feature_norm: true: BatchNorm on the pooled features, so their sign is free, as in the code of Dang et al. 2023;
    false: none, so the features come out of a ReLU and are never negative, as in the code of Dang et al. 2024.

    millions: of parameters, at width 1.
    """

    width: float = 1.0
    feature_norm: bool = True

    needs_images: ClassVar[bool] = True
    millions: ClassVar[float]

    @property
    @abstractmethod
    def stage_widths(self) -> tuple[int, ...]:
        """Channels of the stages after scaling; the last is the features' dimension."""

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
        """These widths after scaling, at least 1 each."""
        return tuple(max(1, round(width * self.width)) for width in widths)
