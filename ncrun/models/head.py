"""The deep linear head: M linear layers on the features, without activations, with an optional bias in the last one."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ncrun.errors import UserError
from ncrun.metrics.scan import Head
from ncrun.models.saved import load_sealed
from ncrun.records.files import DamagedFile


def new_layers(widths: tuple[int, ...], num_classes: int, bias: bool, orthogonal: bool = False) -> list[nn.Linear]:
    """widths: d and the M-1 hidden widths. bias: whether the last layer has one. orthogonal: orthogonal initial
    weights, as in the code of Dang et al. 2023 for MLPs; otherwise PyTorch's default."""
    sizes = [*widths, num_classes]
    last = len(widths) - 1
    layers = [nn.Linear(sizes[m], sizes[m + 1], bias=bias and m == last) for m in range(len(widths))]
    if orthogonal:
        for layer in layers:
            nn.init.orthogonal_(layer.weight)
    return layers


class LinearHead(nn.Module):
    """layers: W_1 first. relu: a ReLU between them, as in deep unconstrained features."""

    def __init__(self, layers: Sequence[nn.Linear], relu: bool = False) -> None:
        super().__init__()
        self.relu = relu
        self.layers = nn.ModuleList(layers)

    @property
    def weights(self) -> list[Tensor]:
        """W_1 .. W_M, W_1 reading the features."""
        return [layer.weight for layer in self.layers if isinstance(layer, nn.Linear)]

    @property
    def bias(self) -> Tensor | None:
        """(K,), of the last layer."""
        found = self.layers[-1].bias
        return found if isinstance(found, Tensor) else None

    @property
    def has_bias(self) -> bool:
        return self.bias is not None

    def forward(self, features: Tensor) -> Tensor:
        signal = features
        for m, layer in enumerate(self.layers):
            signal = layer(signal.relu() if self.relu and m > 0 else signal)
        return signal

    def take_over(self, directory: Path) -> None:
        """The trained head of a free-feature run, which is not trained further.

        Raises UserError if its checkpoint is missing, damaged or of another shape.
        """
        path = directory / "checkpoint.pt"
        try:
            state = load_sealed(path)["network"]
            with torch.no_grad():
                for m, layer in enumerate(self.layers):
                    assert isinstance(layer, nn.Linear)
                    _copy(state[f"head.weights.{m}"][0], layer.weight)
                    if layer.bias is not None:
                        _copy(state["head.bias"][0], layer.bias)
        except (DamagedFile, OSError, LookupError, TypeError, ValueError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(f"head.frozen={directory}: its {path.name} cannot be used ({reason})") from error
        self.requires_grad_(False)

    def in_float64(self) -> Head:
        """A detached copy for measuring."""
        weights = [weight.detach().double() for weight in self.weights]
        bias = self.bias
        if bias is None:
            bias = torch.zeros(len(weights[-1]), device=weights[-1].device)
        return Head(weights, bias.detach().double(), self.relu)


def _copy(source: object, target: Tensor) -> None:
    """Raises ValueError for anything but a tensor of that shape (`copy_` alone would repeat a smaller one)."""
    if not isinstance(source, Tensor) or source.shape != target.shape:
        found = tuple(source.shape) if isinstance(source, Tensor) else type(source).__name__
        raise ValueError(f"expected weights of shape {tuple(target.shape)}, found {found}")
    target.copy_(source)
