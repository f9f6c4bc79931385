"""Networks: a backbone that makes features, and the deep linear head that reads them; or free features and a head."""

import math
from pathlib import Path

from torch import Tensor, nn

from ncrun.config import ConvConfig, DeepLinearConfig, MLPConfig, RunConfig, conv_widths
from ncrun.models.backbones import deep_linear, densenet, mlp, resnet, vgg
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
    shape, model = run.image_shape, run.model
    if isinstance(model, MLPConfig):
        backbone = mlp(math.prod(shape), model.depth, model.width, model.batch_norm, model.features == "relu")
    elif isinstance(model, DeepLinearConfig):
        backbone = deep_linear(math.prod(shape), model.depth, model.width)
    else:
        assert isinstance(model, ConvConfig)
        widths = conv_widths(model)
        if model.name == "densenet":
            backbone = densenet(shape[0], widths, model.feature_norm)
        elif model.name.startswith("vgg"):
            backbone = vgg(shape[0], int(model.name.removeprefix("vgg")), widths, model.feature_norm)
        else:
            backbone = resnet(shape[0], int(model.name.removeprefix("resnet")), widths, model.feature_norm)
    head = LinearHead(
        run.head_widths(), run.num_classes, run.head.bias, isinstance(model, MLPConfig), bool(run.head.relu)
    )
    if run.head.frozen is not None:
        head.take_over(Path(run.head.frozen))
    return Network(backbone, head)
