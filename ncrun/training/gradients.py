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
    """By autograd. `precision` applies to matrix products; parameters, loss and gradients have the training's dtype."""

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
        self.weights, self.bias = list(network.head.weights), network.head.bias
        self.parameters = list(network.parameters())

    def __call__(self, images: Tensor, labels: Tensor, share: float = 1.0) -> None:
        with products_in(self.precision, images.device):
            features, logits = self.forward(images)
            # Sums of squares need the digits that autocast drops.
            features, logits = features.to(images.dtype), logits.to(images.dtype)
            loss = self.objective.on_batch(logits, labels, features, self.weights, self.bias, self.parameters)
        if share != 1:  # for a mean over the batch, and terms that every rank has
            loss = loss * share
        for parameter in self.parameters:
            parameter.grad = None
        with tf32(self.precision == "tf32"):
            loss.backward()  # type: ignore[no-untyped-call]
        if self.ranks.number > 1:
            self.ranks.add([each.grad for each in self.parameters if each.grad is not None])


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
