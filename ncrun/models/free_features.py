"""Unconstrained features, the models of the theorems: the features of all samples are parameters themselves."""

from dataclasses import dataclass
from typing import ClassVar

from ncrun.errors import UserError
from ncrun.models.spec import ModelSpec


@dataclass(frozen=True)
class FreeFeatureSpec(ModelSpec):
    """width: d, the features' dimension.
    feature_std: standard deviation of the normally distributed initial features.
    weight_std: standard deviation of the normally distributed initial weights; null: PyTorch's default for linear
    layers.
    """

    width: int = 64
    feature_std: float = 0.1
    weight_std: float | None = 0.1

    is_free: ClassVar[bool] = True
    default_optimizer: ClassVar[str | None] = "lbfgs"

    @property
    def feature_width(self) -> int:
        return self.width

    def check_head(self, depth: int, relu: bool) -> None:
        if relu != self.relu_head:
            raise UserError(f"head.relu={relu}: model=dufm has ReLUs between its layers, model=ufm has none")


@dataclass(frozen=True)
class UFM(FreeFeatureSpec):
    """Unconstrained features: H (model.width x N) is itself a parameter, read by a deep linear head. counts=[...]
    replaces the data set."""

    name: str = "ufm"
    words: ClassVar[str] = "free features"


@dataclass(frozen=True)
class UFMReLU(FreeFeatureSpec):
    """Unconstrained features that are never negative (like those after a ReLU): one linear layer, cross-entropy by
    default. Projection after each step, or bounds (lbfgs), keep them non-negative; a ReLU on H would trap a feature at
    zero.

    feature_std: the initial features are absolute values of normal numbers with this standard deviation.
    """

    name: str = "ufm_relu"
    words: ClassVar[str] = "free non-negative features"
    default_loss: ClassVar[str] = "ce"

    @property
    def feature_sign(self) -> str:
        return "nonnegative"

    def check_head(self, depth: int, relu: bool) -> None:
        if depth != 1:
            raise UserError(f"head.depth={depth}: model=ufm_relu has one linear layer; use model=ufm for more")
        super().check_head(depth, relu)


@dataclass(frozen=True)
class DUFM(FreeFeatureSpec):
    """Deep unconstrained features: ReLUs between the head's layers (head.depth is L), none on H itself; squared loss,
    no bias."""

    name: str = "dufm"
    feature_std: float = 1.0
    weight_std: float | None = None

    words: ClassVar[str] = "free features under a ReLU head"
    relu_head: ClassVar[bool] = True
    default_depth: ClassVar[int] = 3
