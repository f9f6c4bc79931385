"""A backbone that makes features, and the deep head that reads them."""

from typing import Self

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ncrun.models.head import LinearHead


class Network(nn.Module):
    """features = backbone(images); logits = head(features)."""

    def __init__(self, backbone: nn.Module, head: LinearHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self._keeps_norms = False

    @property
    def num_runs(self) -> int:
        """One: only free features have several runs in a module."""
        return 1

    def keep_norms(self) -> None:
        """Fix BatchNorm's current statistics, for training and evaluation."""
        self._keeps_norms = True
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """As in torch, but fixed BatchNorm stays fixed."""
        super().train(mode)
        for module in self.modules() if self._keeps_norms else ():
            if isinstance(module, _BatchNorm):
                module.eval()
        return self

    def of_run(self, index: int) -> "Network":
        """The network itself."""
        assert index == 0
        return self

    def features(self, images: Tensor) -> Tensor:
        """(B, C, H, W) images to (B, d) features."""
        features: Tensor = self.backbone(images)
        return features

    def project(self) -> None:
        """Does nothing: a network's parameters have no constraint."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) images to (B, d) features and (B, K) logits."""
        features = self.backbone(images)
        return features, self.head(features)
