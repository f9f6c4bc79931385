"""The ReLU networks of the papers."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ncrun.checks import choice
from ncrun.errors import UserError
from ncrun.models.spec import ModelSpec

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class MLP(ModelSpec):
    """ReLU network of Dang et al. 2023.

    depth: number of blocks, each a linear layer and a ReLU.
    width: width of all its layers, including the features.
    batch_norm: true: BatchNorm after every ReLU and once more on the features (their balanced runs); false: none, and
    one more linear layer without activation (their imbalanced runs).
    features: linear: of free sign (Dang et al. 2023); relu: a ReLU after the last layer (Dang et al. 2024).
    """

    name: str = "mlp"
    depth: int = 6
    width: int = 512
    batch_norm: bool = False
    features: str = "linear"

    words: ClassVar[str] = "MLP"
    orthogonal_head: ClassVar[bool] = True

    @property
    def feature_width(self) -> int:
        return self.width

    @property
    def feature_sign(self) -> str:
        return "nonnegative" if self.features == "relu" else "free"

    @property
    def has_batch_norm(self) -> bool:
        return self.batch_norm

    def check(self) -> None:
        choice("model.features", self.features, ["linear", "relu"])
        if self.batch_norm and self.features == "relu":
            raise UserError("model.features=relu: has no effect with model.batch_norm=true, which ends in a BatchNorm")

    def num_parameters(self, image_shape: tuple[int, int, int]) -> int:
        return self.width * (math.prod(image_shape) + self.depth * self.width)

    def backbone(self, image_shape: tuple[int, int, int]) -> "nn.Module":
        return mlp(math.prod(image_shape), self.depth, self.width, self.batch_norm, self.features == "relu")


def mlp(num_inputs: int, depth: int, width: int, batch_norm: bool, relu_features: bool) -> "nn.Sequential":
    """The ReLU network of Dang et al. 2023 in its two variants, and that of Dang et al. 2024. Layers: linear1, relu1,
    linear2, ...

    batch_norm: every block is Linear, ReLU, BatchNorm, and one more BatchNorm follows the last block.
    Otherwise: blocks of Linear, ReLU, then one more linear layer, followed by a ReLU with relu_features. Without it the
    features have free sign.
    Initial weights: orthogonal in the linear layers among the first six modules (a quirk of the authors' code, kept
    because it decides the starting point), PyTorch's default in the others. For other depths: the first `depth`
    modules.
    """
    from torch import nn

    from ncrun.models.layers import Named, sequence

    modules: Named = []
    for layer in range(1, depth + 1):
        modules += [
            (f"linear{layer}", nn.Linear(num_inputs if layer == 1 else width, width)),
            (f"relu{layer}", nn.ReLU()),
        ]
        if batch_norm:
            modules.append((f"norm{layer}", nn.BatchNorm1d(width)))
    for _, module in modules[:depth]:
        if isinstance(module, nn.Linear):
            nn.init.orthogonal_(module.weight)
    modules.append(("norm", nn.BatchNorm1d(width)) if batch_norm else (f"linear{depth + 1}", nn.Linear(width, width)))
    if relu_features:
        modules.append((f"relu{depth + 1}", nn.ReLU()))
    return sequence([("flatten", nn.Flatten()), *modules])
