"""Networks of a stranger's file, good ones and bad ones; the tests name this file in model.path."""

import torch
from torch import nn
from torch.nn import functional

NOISE = torch.rand(3)  # a file may draw from torch's random state when it is executed


class Plain(nn.Module):
    """Two linear layers with a ReLU between, and dropout that heeds its mode."""

    def __init__(self, input_shape, width=6, dropout=0.0):
        super().__init__()
        channels, height, size = input_shape
        self.first = nn.Linear(channels * height * size, width)
        self.drop = nn.Dropout(dropout)
        self.second = nn.Linear(width, width)

    def forward(self, images):
        return self.second(self.drop(self.first(images.flatten(1)).relu()))


class LastReLU(nn.Sequential):
    """Images as they are, then convolutions, a ReLU and a mean over positions."""

    def __init__(self, in_channels, width=5):
        super().__init__(nn.Conv2d(in_channels, width, 3), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten())


class LastNorm(nn.Module):
    """BatchNorm on what the pooled convolutions make; its layers stand in another order than they compute."""

    def __init__(self, in_channels):
        super().__init__()
        self.norm = nn.BatchNorm1d(5)
        self.body = LastReLU(in_channels)

    def forward(self, images):
        return self.norm(self.body(images))


class NormTwice(LastNorm):
    """The same BatchNorm at two places."""

    def forward(self, images):
        return self.norm(self.norm(self.body(images)))


class FunctionalReLU(Plain):
    def forward(self, images):
        return super().forward(images).relu()


class Drifting(Plain):
    """Non-negative features until the offset is trained."""

    def __init__(self, input_shape):
        super().__init__(input_shape)
        self.offset = nn.Parameter(torch.zeros(6))

    def forward(self, images):
        return super().forward(images).relu() + self.offset


class InPlaceReLU(Plain):
    def forward(self, images):
        return super().forward(images).relu_()


class Smooth(Plain):
    def forward(self, images):
        return functional.gelu(super().forward(images))


class Classifier(nn.Module):
    """Its own head of two layers; tokens on the way, as a transformer has them."""

    def __init__(self, num_classes, img_size, in_chans):
        super().__init__()
        self.embed = nn.Linear(in_chans * img_size, 9)
        self.norm = nn.LayerNorm(9)
        self.low = nn.Linear(9, 7, bias=False)
        self.top = nn.Linear(7, num_classes)

    def forward(self, images):
        tokens = self.embed(images.flatten(1, 2).unflatten(1, (images.shape[2], -1)).flatten(2))
        return self.top(self.low(self.norm(tokens).mean(dim=1)))


class Mixed(Classifier):
    def __init__(self, num_classes, img_size, in_chans):
        super().__init__(num_classes, img_size, in_chans)
        self.both = nn.Sequential(nn.Linear(7, 7), nn.ReLU())


class Biased(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.body = nn.Flatten()
        self.classifier = nn.Sequential(nn.Linear(64, 8), nn.Linear(8, num_classes))

    def forward(self, images):
        return self.classifier(self.body(images))


class Scaled(Biased):
    def forward(self, images):
        return 2 * super().forward(images)


class Ensemble(nn.Module):
    """A layer that computes nothing, and one whose output is no tensor."""

    def __init__(self):
        super().__init__()
        self.pair = Pair((1, 8, 8))
        self.unused = nn.ReLU()

    def forward(self, images):
        return self.pair(images)[0]


class Noisy(Plain):
    def forward(self, images):
        return functional.dropout(super().forward(images))


class BatchStatistics(Plain):
    def forward(self, images):
        features = super().forward(images)
        return features - features.mean(dim=0)


class Squeezed(Plain):
    def forward(self, images):
        return super().forward(images).squeeze()


class Spare(Plain):
    def __init__(self, input_shape):
        super().__init__(input_shape)
        self.spare = nn.Linear(3, 3)


class Fixed(Spare):
    def __init__(self, input_shape):
        super().__init__(input_shape)
        self.spare.requires_grad_(False)


class Detached(Plain):
    def forward(self, images):
        return super().forward(images).detach()


class Unflattened(Plain):
    def forward(self, images):
        return images


class Pair(Plain):
    def forward(self, images):
        features = super().forward(images)
        return features, features


class PairInTraining(Plain):
    def forward(self, images):
        features = super().forward(images)
        return (features, features) if self.training else features


class Double(Plain):
    def forward(self, images):
        return super().forward(images).double()


class Infinite(Plain):
    def forward(self, images):
        return super().forward(images) / 0


class Breaks(nn.Module):
    def __init__(self):
        super().__init__()
        raise KeyError("nothing")


class BreaksLater(Plain):
    def forward(self, images):
        return super().forward(images) @ self.second.bias[:2]


def made_by_a_function(input_shape):
    return Plain(input_shape, width=4)


def asks(dim, *, heads, input_shape):
    return Plain(input_shape, dim * heads)


def nothing():
    return 3


network = Plain((1, 8, 8))
number = 3
