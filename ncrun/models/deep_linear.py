"""Linear layers on the inputs."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

from ncrun.models.spec import ModelSpec

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class DeepLinear(ModelSpec):
    """Linear layers on the inputs. Such features cannot collapse freely, so theory's optimum is only a lower bound.

    depth: number of layers below the head.
    width: width of all its layers, including the features.
    """

    name: str = "deep_linear"
    depth: int = 1
    width: int = 512

    words: ClassVar[str] = "linear network"
    attains_optimum: ClassVar[bool] = False

    @property
    def feature_width(self) -> int:
        return self.width

    def num_parameters(self, image_shape: tuple[int, int, int]) -> int:
        return self.width * (math.prod(image_shape) + (self.depth - 1) * self.width)

    def backbone(self, image_shape: tuple[int, int, int]) -> "nn.Module":
        """linear1, linear2, ..., without activations and biases."""
        from torch import nn

        from ncrun.models.layers import sequence

        sizes = [math.prod(image_shape), *[self.width] * self.depth]
        layers = [(f"linear{i + 1}", nn.Linear(a, b, bias=False)) for i, (a, b) in enumerate(pairwise(sizes))]
        return sequence([("flatten", nn.Flatten()), *layers])
