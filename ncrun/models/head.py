"""The deep linear head: M linear layers on the features, without activations, a bias in the last one if wanted."""

import torch
from torch import Tensor, nn

from ncrun import metrics


class LinearHead(nn.Module):
    """widths: d and the M-1 hidden widths. bias: unregularised, in the last layer. orthogonal: initial weights
    orthogonal, as released with the MLPs of Dang et al. 2023; PyTorch's default otherwise. relu: a ReLU between the
    layers, as in deep unconstrained features."""

    def __init__(
        self, widths: tuple[int, ...], num_classes: int, bias: bool, orthogonal: bool, relu: bool = False
    ) -> None:
        super().__init__()
        self.relu = relu
        sizes = [*widths, num_classes]
        last = len(widths) - 1
        layers = [nn.Linear(sizes[m], sizes[m + 1], bias=bias and m == last) for m in range(len(widths))]
        if orthogonal:
            for layer in layers:
                nn.init.orthogonal_(layer.weight)
        self.layers = nn.ModuleList(layers)

    @property
    def weights(self) -> list[Tensor]:
        """W_1 .. W_M, W_1 reading the features."""
        return [layer.weight for layer in self.layers if isinstance(layer, nn.Linear)]

    def forward(self, features: Tensor) -> Tensor:
        signal = features
        for m, layer in enumerate(self.layers):
            signal = layer(signal.relu() if self.relu and m > 0 else signal)
        return signal

    def in_float64(self) -> metrics.Head:
        """A detached copy for measuring."""
        weights = [weight.detach().double() for weight in self.weights]
        bias = self.layers[-1].bias
        if not isinstance(bias, Tensor):
            bias = torch.zeros(len(weights[-1]), device=weights[-1].device)
        return metrics.Head(weights, bias.detach().double(), self.relu)
