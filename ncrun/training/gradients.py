"""The gradient of one step: by autograd for networks, explicit for free features."""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from ncrun.models.free_gradient import FreeGradient
from ncrun.models.free_model import FreeFeatures
from ncrun.models.network import Network
from ncrun.objective import Objective
from ncrun.training.ranks import ALONE, Ranks


class SetGradients(Protocol):
    """Sets .grad of every parameter, from images and labels of a batch, to the gradient of the objective on it."""

    def __call__(self, images: Tensor, labels: Tensor, share: float = 1.0) -> None:
        """share: of the batch in these images; the other ranks have the rest."""


def gradients_of(
    network: Network | FreeFeatures,
    objectives: Sequence[Objective],
    labels: Sequence[Tensor],
    precision: str = "full",
    compiled: bool = False,
    ranks: Ranks = ALONE,
) -> SetGradients:
    """The gradient for the runs of a network.

    objectives, labels: of each run; labels (N,) of the whole training set, all of which free features use at each step.
    precision, compiled: of a network's products.
    """
    if isinstance(network, FreeFeatures):
        gradient = FreeGradient(network, objectives, torch.stack(list(labels)))
        return lambda images, labels, share=1.0: gradient()
    return NetworkGradient(network, objectives[0], precision, compiled, ranks)


class NetworkGradient:
    """Of the data term by autograd. The decay terms' own is added to it in place: autograd would read and write each
    parameter several times for the same numbers. `precision` applies to matrix products; parameters, loss and gradients
    have the training's dtype."""

    def __init__(
        self,
        network: Network,
        objective: Objective,
        precision: str = "full",
        compiled: bool = False,
        ranks: Ranks = ALONE,
    ) -> None:
        self.ranks = ranks
        self.forward = _compiled(network.forward) if compiled else network.forward
        self.objective = objective
        self.precision = precision
        self.parameters = list(network.parameters())
        decayed = objective.decayed(network.head.weights, network.head.bias, self.parameters)
        self.decayed = [(each, decay) for each, decay in decayed if each.requires_grad]  # a frozen head's do not

    def __call__(self, images: Tensor, labels: Tensor, share: float = 1.0) -> None:
        with products_in(self.precision, images.device):
            features, logits = self.forward(images)
            # Sums of squares need the digits that autocast drops.
            features, logits = features.to(images.dtype), logits.to(images.dtype)
            B = len(labels) / share
            data_term = self.objective.data_sum(logits, labels) / B
        for parameter in self.parameters:
            parameter.grad = None
        with tf32(self.precision == "tf32"):
            if self.objective.feature_decay is not None and features.requires_grad:
                pull = features.detach() * (self.objective.feature_decay * self.objective.num_samples / B)
                torch.autograd.backward((data_term, features), (None, pull))
            else:
                torch.autograd.backward(data_term)
        if self.ranks.number > 1:
            self.ranks.add([each.grad for each in self.parameters if each.grad is not None])
        with torch.no_grad():
            for each, decay in self.decayed:
                if each.grad is None:  # the network does not use it
                    each.grad = each * decay
                else:
                    each.grad.add_(each, alpha=decay)


def _compiled(forward: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Fused. precision=tf32 selects TF32, so PyTorch's advice to use it is suppressed. What was compiled for an earlier
    run of this process is dropped: PyTorch would compile for other shapes too, and the numbers differ in rounding."""
    torch.compiler.reset()
    fused = torch.compile(forward)

    def call(images: Tensor) -> tuple[Tensor, Tensor]:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "TensorFloat32 tensor cores", UserWarning)
            return fused(images)

    return call


@contextlib.contextmanager
def products_in(precision: str, device: torch.device) -> Iterator[None]:
    """The forward pass' products of matrices: full, tf32 (both factors rounded to 10 bits), or bfloat16 (8 bits)."""
    with tf32(precision == "tf32"), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        yield


@contextlib.contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Whether a GPU may round the factors of float32 products (PyTorch's default for convolutions is yes)."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
