"""Networks: a backbone that makes features, and the deep linear head that reads them."""

import math

from torch import Tensor, nn

from ncrun.config import DeepLinearConfig, MLPConfig, ResNet18Config, RunConfig, resnet_stage_widths
from ncrun.models.backbones import deep_linear, mlp, resnet18
from ncrun.models.head import LinearHead

__all__ = ["LinearHead", "Network", "build"]


class Network(nn.Module):
    """features = backbone(images); logits = head(features)."""

    def __init__(self, backbone: nn.Module, head: LinearHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) images to (B, d) features and (B, K) logits."""
        features = self.backbone(images)
        return features, self.head(features)


def build(run: RunConfig) -> Network:
    """The network that a configuration names, initialised from torch's global random state."""
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
