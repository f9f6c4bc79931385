"""The deep linear head: M linear layers on the features, without activations, a bias in the last one if wanted."""

import torch
from torch import Tensor, nn

from ncrun import metrics


class LinearHead(nn.Module):
    """widths: d and the M-1 hidden widths. bias: unregularised, in the last layer. orthogonal: initial weights orthogonal, as
    released with the MLPs of Dang et al. 2023; PyTorch's default otherwise."""

    def __init__(self, widths: tuple[int, ...], num_classes: int, bias: bool, orthogonal: bool) -> None:
        super().__init__()
        sizes = [*widths, num_classes]
        last = len(widths) - 1
        self.layers = nn.ModuleList(
            nn.Linear(sizes[m], sizes[m + 1], bias=bias and m == last) for m in range(len(widths))
        )
        if orthogonal:
            for layer in self.layers:
                nn.init.orthogonal_(layer.weight)

    @property
    def weights(self) -> list[Tensor]:
        """W_1 .. W_M, W_1 reading the features."""
        return [layer.weight for layer in self.layers]

    def forward(self, features: Tensor) -> Tensor:
        for layer in self.layers:
            features = layer(features)
        return features

    def in_float64(self) -> metrics.Head:
        """A detached copy for measuring."""
        weights = [weight.detach().double() for weight in self.weights]
        bias = self.layers[-1].bias
        zeros = torch.zeros(len(weights[-1]), dtype=torch.float64, device=weights[-1].device)
        return metrics.Head(weights, zeros if bias is None else bias.detach().double())
