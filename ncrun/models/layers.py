"""What several backbones are made of."""

from collections import OrderedDict
from collections.abc import Iterable

from torch import nn

Named = list[tuple[str, nn.Module]]


def sequence(modules: Iterable[tuple[str, nn.Module]]) -> nn.Sequential:
    """One after the other, under the names by which they can be tapped."""
    return nn.Sequential(OrderedDict(modules))


def pooled(modules: Named, width: int, feature_norm: bool) -> nn.Sequential:
    """Convolutional layers, the mean over all positions of what they make, and perhaps a BatchNorm on these."""
    norm: Named = [("feature_norm", nn.BatchNorm1d(width))] if feature_norm else []
    return sequence([*modules, ("pool", nn.AdaptiveAvgPool2d(1)), ("flatten", nn.Flatten()), *norm])
