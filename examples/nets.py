"""Networks in plain PyTorch, without any code for ncrun.

    ncrun train model=module model.path=examples/nets.py:TinyResNet model.head=fc
    ncrun train model=module model.path=examples/nets.py:without_fc model.args.width=32 head.depth=3

The first line uses the network with its own last layer as the head. In the second the network returns its features, and
ncrun's head of three linear layers reads them.
"""

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Identity() if stride == 1 else nn.Conv2d(width_in, width, 1, stride, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        signal = torch.relu(self.norm1(self.conv1(images)))
        return torch.relu(self.norm2(self.conv2(signal)) + self.shortcut(images))


class TinyResNet(nn.Module):
    """Three blocks, of `width`, 2 `width` and 4 `width` channels, and a linear layer on the mean over all positions."""

    def __init__(self, num_classes: int, in_channels: int, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, width, 3, padding=1)
        self.blocks = nn.Sequential(Block(width, width, 1), Block(width, 2 * width, 2), Block(2 * width, 4 * width, 2))
        self.fc = nn.Linear(4 * width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        signal: Tensor = self.fc(self.blocks(self.stem(images)).mean(dim=(2, 3)))
        return signal


def without_fc(num_classes: int, in_channels: int, width: int = 16) -> TinyResNet:
    """The same, up to its features."""
    network = TinyResNet(num_classes, in_channels, width)
    network.fc = nn.Identity()  # type: ignore[assignment]
    return network
