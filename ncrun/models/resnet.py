"""ResNet18 and ResNet20 for small images."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ncrun.models.convolutional import Convolutional

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ResNet(Convolutional):
    """blocks: number of blocks in each stage."""

    widths: ClassVar[tuple[int, ...]]
    blocks: ClassVar[int]

    @property
    def stage_widths(self) -> tuple[int, ...]:
        return self.scaled(self.widths)

    def backbone(self, image_shape: tuple[int, int, int]) -> "nn.Module":
        return resnet(image_shape[0], self.blocks, self.stage_widths, self.feature_norm)


@dataclass(frozen=True)
class ResNet18(ResNet):
    """ResNet18 with the stem for small images.

    width: factor on the widths 64, 128, 256, 512 of the four stages.
    """

    name: str = "resnet18"
    words: ClassVar[str] = "ResNet18"
    millions: ClassVar[float] = 11.17
    widths: ClassVar[tuple[int, ...]] = (64, 128, 256, 512)
    blocks: ClassVar[int] = 2


@dataclass(frozen=True)
class ResNet20(ResNet):
    """ResNet20 with the stem for small images.

    width: factor on the widths 16, 32, 64 of the three stages.
    """

    name: str = "resnet20"
    words: ClassVar[str] = "ResNet20"
    millions: ClassVar[float] = 0.272
    widths: ClassVar[tuple[int, ...]] = (16, 32, 64)
    blocks: ClassVar[int] = 3


def resnet(channels: int, blocks: int, stage_widths: tuple[int, ...], feature_norm: bool) -> "nn.Sequential":
    """A 3 x 3 stem without pooling, then stages of `blocks` residual blocks. A shortcut that changes the width is a
    1 x 1 convolution. Layers: conv, norm, relu, stage1, stage2, ..."""
    from torch import nn
    from torchvision.models.resnet import BasicBlock

    from ncrun.models.layers import Named, pooled

    def block(width_in: int, width: int, stride: int) -> nn.Module:
        shortcut = None
        if stride != 1 or width_in != width:
            shortcut = nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))
        return BasicBlock(width_in, width, stride, shortcut)  # type: ignore[no-any-return]

    modules: Named = [
        ("conv", nn.Conv2d(channels, stage_widths[0], 3, 1, 1, bias=False)),
        ("norm", nn.BatchNorm2d(stage_widths[0])),
        ("relu", nn.ReLU()),
    ]
    width_in = stage_widths[0]
    for stage, width in enumerate(stage_widths, start=1):
        first = block(width_in, width, 1 if stage == 1 else 2)
        others = [block(width, width, 1) for _ in range(blocks - 1)]
        modules.append((f"stage{stage}", nn.Sequential(first, *others)))
        width_in = width
    return pooled(modules, width_in, feature_norm)
