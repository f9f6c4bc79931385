"""The sign of a network's features: from its last layer if its output is the features, else from features on some
images."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

NONNEGATIVE = (nn.ReLU, nn.ReLU6)
FREE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)
# In evaluation mode the outputs of these are inputs or means of inputs, so signs stay.
PASSING = (
    nn.Flatten,
    nn.Identity,
    nn.Dropout,
    nn.Dropout2d,
    nn.MaxPool2d,
    nn.AdaptiveMaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
)


@dataclass(frozen=True)
class Call:
    """A layer without layers in it, while the network computed."""

    name: str
    layer: nn.Module
    read: Tensor
    made: Tensor


def last_layer(network: nn.Module, images: Tensor) -> tuple[Tensor, Call | None]:
    """The network's output, and its last layer that decides the sign: the output is the layer's, apart from pooling,
    flattening and dropout after it. None if something else follows, such as a function."""
    calls: list[Call] = []
    names = {module: name for name, module in network.named_modules()}

    def keep(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        # Copies, because later layers may work in place.
        if inputs and isinstance(inputs[0], Tensor) and isinstance(output, Tensor):
            calls.append(Call(names[module], module, inputs[0].clone(), output.clone()))

    leaves = [module for module in names if next(module.children(), None) is None]
    handles = [leaf.register_forward_hook(keep) for leaf in leaves]
    try:
        output = network(images)
    finally:
        for handle in handles:
            handle.remove()
    wanted = output
    for call in reversed(calls):
        if not isinstance(wanted, Tensor) or not _equal(call.made, wanted):
            break
        if not isinstance(call.layer, PASSING):
            return output, call
        wanted = call.read
    return output, None


def sign_of(features: Tensor, last: Call | None) -> tuple[str, str]:
    """free or nonnegative, and how that is known."""
    if last is not None and isinstance(last.layer, (*NONNEGATIVE, *FREE)):
        sign = "nonnegative" if isinstance(last.layer, NONNEGATIVE) else "free"
        return sign, f"from its last layer, {last.name or 'itself'} ({type(last.layer).__name__})"
    negative = int((features < 0).sum())
    if negative == 0:
        return "nonnegative", f"from its features on {len(features)} images: none is negative"
    return "free", f"from its features on {len(features)} images: {negative / features.numel():.0%} are negative"


def _equal(first: Tensor, second: Tensor) -> bool:
    """Whether both hold the same numbers, in any shape."""
    return first.numel() == second.numel() and torch.equal(first.flatten(), second.flatten())
