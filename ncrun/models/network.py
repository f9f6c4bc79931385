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
        """One: several side by side are for free features only."""
        return 1

    def keep_norms(self) -> None:
        """From now on BatchNorm has the statistics that it has now, in training as in evaluation."""
        self._keeps_norms = True
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """As torch has it, but what BatchNorm keeps it keeps."""
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
        """Nothing: no constraint on a network's parameters."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) images to (B, d) features and (B, K) logits."""
        features = self.backbone(images)
        return features, self.head(features)
