"""VGG11 and VGG16 with BatchNorm, their convolutions only."""

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ncrun.models.convolutional import Convolutional

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class VGG(Convolutional):
    """repeats: number of convolutions in each of the five stages, whose poolings halve the image."""

    smallest_image: ClassVar[int] = 32
    widths: ClassVar[tuple[int, ...]] = (64, 128, 256, 512, 512)
    repeats: ClassVar[tuple[int, ...]]

    @property
    def stage_widths(self) -> tuple[int, ...]:
        return self.scaled(self.widths)

    def backbone(self, image_shape: tuple[int, int, int]) -> "nn.Module":
        return vgg(image_shape[0], self.repeats, self.stage_widths, self.feature_norm)


@dataclass(frozen=True)
class VGG11(VGG):
    """VGG11 with BatchNorm, its convolutions only, for images of 32 x 32.

    width: factor on the widths 64, 128, 256, 512, 512 of the five stages.
    """

    name: str = "vgg11"
    words: ClassVar[str] = "VGG11"
    millions: ClassVar[float] = 9.23
    repeats: ClassVar[tuple[int, ...]] = (1, 1, 2, 2, 2)


@dataclass(frozen=True)
class VGG16(VGG):
    """VGG16 with BatchNorm, its convolutions only, for images of 32 x 32.

    width: factor on the widths 64, 128, 256, 512, 512 of the five stages.
    """

    name: str = "vgg16"
    words: ClassVar[str] = "VGG16"
    millions: ClassVar[float] = 14.72
    repeats: ClassVar[tuple[int, ...]] = (2, 2, 3, 3, 3)


def vgg(channels: int, repeats: tuple[int, ...], widths: tuple[int, ...], feature_norm: bool) -> "nn.Sequential":
    """Five stages of convolutions with these widths, each ending in a pooling; one pixel is left of a 32 x 32 image.
    Layers: conv1, norm1, relu1, ..., pool1, ..."""
    from torch import nn
    from torchvision.models.vgg import make_layers

    from ncrun.models.layers import Named, pooled

    plan: list[str | int] = []
    for width, repeated in zip(widths, repeats, strict=True):
        plan += [width] * repeated + ["M"]
    layers = make_layers(plan, batch_norm=True)
    layers[0] = nn.Conv2d(channels, widths[0], 3, padding=1)
    words = {nn.Conv2d: "conv", nn.BatchNorm2d: "norm", nn.ReLU: "relu", nn.MaxPool2d: "pool"}
    count: Counter[str] = Counter()
    modules: Named = []
    for layer in layers:
        word = words[type(layer)]
        count[word] += 1
        modules.append((f"{word}{count[word]}", layer))
    return pooled(modules, widths[-1], feature_norm)
