"""Networks: a backbone that makes features, and the deep linear head that reads them; or free features and a head."""

import math

from torch import Tensor, nn

from ncrun.config import DeepLinearConfig, MLPConfig, ResNet18Config, RunConfig, resnet_stage_widths
from ncrun.models.backbones import deep_linear, mlp, resnet18
from ncrun.models.free_features import FreeFeatures, free_features
from ncrun.models.head import LinearHead

__all__ = ["FreeFeatures", "LinearHead", "Network", "build"]


class Network(nn.Module):
    """features = backbone(images); logits = head(features)."""

    def __init__(self, backbone: nn.Module, head: LinearHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    @property
    def num_members(self) -> int:
        """One: several starts side by side are for free features only."""
        return 1

    def member(self, index: int) -> "Network":
        """The network itself."""
        assert index == 0
        return self

    def features(self, images: Tensor) -> Tensor:
        """(B, C, H, W) images to (B, d) features."""
        features: Tensor = self.backbone(images)
        return features

    def project(self) -> None:
        """Nothing: no constraint on a network's parameters."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) images to (B, d) features and (B, K) logits."""
        features = self.backbone(images)
        return features, self.head(features)


def build(run: RunConfig) -> Network | FreeFeatures:
    """The network that a configuration names, initialised from torch's global random state (free features: from the
    configuration's seed)."""
    if run.is_free:
        return free_features(run)
    shape, model = run.facts.image_shape, run.model
    if isinstance(model, MLPConfig):
        backbone = mlp(math.prod(shape), model.depth, model.width, model.batch_norm)
    elif isinstance(model, DeepLinearConfig):
        backbone = deep_linear(math.prod(shape), model.depth, model.width)
    else:
        assert isinstance(model, ResNet18Config)
        backbone = resnet18(shape[0], resnet_stage_widths(model.width))
    head = LinearHead(run.head_widths(), run.facts.num_classes, run.head.bias, orthogonal=isinstance(model, MLPConfig))
    return Network(backbone, head)
