"""Unconstrained features: the features of all samples are parameters, and a deep head reads them.

One module can hold the parameters of several runs, so that one batched program trains them all: every parameter has a
leading dimension for the runs, usually 1.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ncrun.metrics.scan import Head


class FreeHead(nn.Module):
    """W_1 .. W_M, each (R, out, in); with `relu` a ReLU after every layer except the last; a bias (R, K) if `bias`."""

    def __init__(self, weights: Sequence[Tensor], bias: Tensor | None, relu: bool) -> None:
        super().__init__()
        self.weights = nn.ParameterList([nn.Parameter(weight) for weight in weights])
        self.bias = None if bias is None else nn.Parameter(bias)
        self.relu = relu

    @property
    def has_bias(self) -> bool:
        return self.bias is not None

    def in_float64(self) -> Head:
        """A detached copy of the first run's head, for measuring."""
        weights = [weight.detach()[0].double() for weight in self.weights]
        bias = torch.zeros(len(weights[-1]), device=weights[-1].device) if self.bias is None else self.bias.detach()[0]
        return Head(weights, bias.double(), self.relu)


class FreeFeatures(nn.Module):
    """points: (R, N, d), the features of all samples, in the order of the labels. nonnegative: whether they are kept >=
    0."""

    def __init__(self, points: Tensor, head: FreeHead, nonnegative: bool) -> None:
        super().__init__()
        self.points = nn.Parameter(points)
        self.head = head
        self.nonnegative = nonnegative

    @property
    def num_runs(self) -> int:
        """R, the number of runs in this module."""
        return len(self.points)

    def of_run(self, index: int) -> "FreeFeatures":
        """A single run, sharing the memory."""
        bias = self.head.bias
        part = slice(index, index + 1)
        head = FreeHead(
            [weight.data[part] for weight in self.head.weights],
            None if bias is None else bias.data[part],
            self.head.relu,
        )
        return FreeFeatures(self.points.data[part], head, self.nonnegative)

    def features(self, samples: Tensor) -> Tensor:
        """(B, d): the first run's features of the samples with these indices."""
        return self.points[0][samples]

    def project(self) -> None:
        """Set features that a step made negative to zero."""
        if self.nonnegative:
            self.points.detach().clamp_(min=0)


def stacked(models: Sequence[FreeFeatures]) -> FreeFeatures:
    """Stacks models of equal shapes into one."""
    first = models[0]
    layers = zip(*(model.head.weights for model in models), strict=True)
    weights = [torch.cat([weight.data for weight in of_layer]) for of_layer in layers]
    biases = [model.head.bias.data for model in models if model.head.bias is not None]
    head = FreeHead(weights, torch.cat(biases) if biases else None, first.head.relu)
    return FreeFeatures(torch.cat([model.points.data for model in models]), head, first.nonnegative)
