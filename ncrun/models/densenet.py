"""DenseNet-BC for small images."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ncrun.models.convolutional import Convolutional

if TYPE_CHECKING:
    from torch import nn

GROWTH = 12
LAYERS = (6, 12, 24, 16)


@dataclass(frozen=True)
class DenseNet(Convolutional):
    """DenseNet-BC with blocks of 6, 12, 24 and 16 layers and the stem for small images, as in the code of Dang et al.
    2024.

    width: factor on the growth of 12.
    """

    name: str = "densenet"
    feature_norm: bool = False

    words: ClassVar[str] = "DenseNet"
    millions: ClassVar[float] = 0.997
    smallest_image: ClassVar[int] = 8  # three poolings halve it

    @property
    def stage_widths(self) -> tuple[int, ...]:
        """Channels of the stem and after each block: each layer adds `growth` channels, and each block is followed by
        halving."""
        growth = max(1, round(GROWTH * self.width))
        widths = [2 * growth]
        for layers in LAYERS:
            widths.append((widths[-1] if len(widths) == 1 else widths[-1] // 2) + layers * growth)
        return tuple(widths)

    def backbone(self, image_shape: tuple[int, int, int]) -> "nn.Module":
        return densenet(image_shape[0], self.stage_widths, self.feature_norm)


def densenet(channels: int, widths: tuple[int, ...], feature_norm: bool) -> "nn.Sequential":
    """Blocks of 6, 12, 24 and 16 layers, a 3 x 3 stem of twice the growth, halving between the blocks. The pooled
    features follow a ReLU. Layers: conv, block1, transition1, block2, ..., norm, relu.

    widths: channels of the stem and after each block.
    """
    from torch import nn
    from torchvision.models.densenet import _DenseBlock, _Transition

    from ncrun.models.layers import Named, pooled

    growth = widths[0] // 2
    modules: Named = [("conv", nn.Conv2d(channels, widths[0], 3, padding=1, bias=False))]
    width = widths[0]
    for stage, (layers, after) in enumerate(zip(LAYERS, widths[1:], strict=True), start=1):
        if stage > 1:
            modules.append((f"transition{stage - 1}", _Transition(width, width // 2)))
            width //= 2
        block = _DenseBlock(layers, width, bn_size=4, growth_rate=growth, drop_rate=0.0)
        modules.append((f"block{stage}", block))
        width = after
    modules += [("norm", nn.BatchNorm2d(width)), ("relu", nn.ReLU())]
    return pooled(modules, width, feature_norm)
