"""Parts that several backbones share."""

from collections import OrderedDict
from collections.abc import Iterable

from torch import nn

Named = list[tuple[str, nn.Module]]


def sequence(modules: Iterable[tuple[str, nn.Module]]) -> nn.Sequential:
    """A Sequential with the names by which layers can be tapped."""
    return nn.Sequential(OrderedDict(modules))


def pooled(modules: Named, width: int, feature_norm: bool) -> nn.Sequential:
    """Convolutional layers, the mean of their output over all positions, and optionally a BatchNorm."""
    norm: Named = [("feature_norm", nn.BatchNorm1d(width))] if feature_norm else []
    return sequence([*modules, ("pool", nn.AdaptiveAvgPool2d(1)), ("flatten", nn.Flatten()), *norm])
