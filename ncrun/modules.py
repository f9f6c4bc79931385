"""Takes the weights out of a classifier that is a PyTorch module."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from ncrun.errors import UserError
from ncrun.metrics.scan import Head

# Layers that return their input in evaluation mode.
PASSING = (nn.Identity, nn.Dropout, nn.Flatten)


@runtime_checkable
class OwnHead(Protocol):
    """The head of an ncrun network."""

    @property
    def has_bias(self) -> bool: ...

    def in_float64(self) -> Head: ...


def opened(module: nn.Module) -> tuple[list[Tensor], Tensor | None, bool]:
    """W_1 .. W_M, where W_1 reads the features; the bias (K,) of the last layer, or None; and whether a ReLU stands
    between the layers.

    module: an nn.Linear, an nn.Sequential of such, with an nn.ReLU between all of them or none, or the head of an ncrun
    network. Raises UserError for anything else.
    """
    if isinstance(module, OwnHead):
        head = module.in_float64()
        return list(head.weights), head.bias if module.has_bias else None, head.relu
    if not isinstance(module, nn.Linear | nn.Sequential):
        raise UserError(
            f"classifier: is a module {type(module).__name__}; give an nn.Linear, an nn.Sequential of them, or arrays"
        )
    layers: list[nn.Linear] = []
    relus = []
    for each in _in_order(module):
        if isinstance(each, nn.Linear) and type(each).forward is nn.Linear.forward:
            layers.append(each)
        elif isinstance(each, nn.ReLU):
            relus.append(len(layers))
        elif not isinstance(each, PASSING):
            raise UserError(
                f"classifier: holds a layer {type(each).__name__}; a head consists of nn.Linear, with nn.ReLU between"
                " all of them or none"
            )
    if not layers:
        raise UserError("classifier: holds no nn.Linear")
    if relus not in ([], list(range(1, len(layers)))):
        raise UserError(
            "classifier: has a ReLU in some places only; it must stand between all layers of a head, or none"
        )
    for m, layer in enumerate(layers[:-1], start=1):
        if layer.bias is not None:
            raise UserError(f"classifier: layer {m} has a bias; in a head only the last layer may have one")
    return [layer.weight for layer in layers], layers[-1].bias, bool(relus)


def _in_order(module: nn.Module) -> Iterator[nn.Module]:
    """The layers of a module in order; a layer that is used twice comes twice."""
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        for each in module:
            yield from _in_order(each)
    else:
        yield module
