"""A stranger's own last linear layers, taken for the head."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from ncrun.errors import UserError, nearest
from ncrun.models.own.path import ModulePath


def without_head(
    network: nn.Module, where: ModulePath, names: Sequence[str], num_classes: int
) -> tuple[nn.Module, list[nn.Linear] | None]:
    """The network up to its features, and the layers of its own head, W_1 first, or None where ncrun's head is to read
    them: then a model of torchvision loses its last layer (of timm's none was made).

    Where layers stood there is nothing more, so that what the network puts out is what they read; look.py sees to it
    that this is so. Raises UserError for names that are no linear layers, one behind the other.
    """
    if names:
        return network, _take_named(network, names, num_classes)
    if where.library == "torchvision":
        _drop_last(network, where.said, num_classes)
    return network, None


def _take_named(network: nn.Module, names: Sequence[str], num_classes: int) -> list[nn.Linear]:
    layers = [layer for name in names for layer in _layers(network, name)]
    _check(",".join(names), layers, num_classes)
    for name in names:
        network.set_submodule(name, nn.Identity())
    return layers


def _drop_last(network: nn.Module, said: str, num_classes: int) -> None:
    """Without its last linear layer, which makes a number for each class. Raises UserError if there is none."""
    names = _linear_names(network)
    last = network.get_submodule(names[-1]) if names else None
    if not isinstance(last, nn.Linear) or last.out_features != num_classes:
        raise UserError(f"{said}: does not end in a linear layer in whose place ncrun's head could stand")
    network.set_submodule(names[-1], nn.Identity())


def _layers(network: nn.Module, name: str) -> list[nn.Linear]:
    """The linear layer of this name, or those of a Sequential."""
    known = dict(network.named_modules())
    if name not in known:
        choices = _linear_names(network)
        shown = ", ".join(choices[-5:]) or "none"
        which = "its last linear layers are" if len(choices) > 5 else "its linear layers are"
        raise UserError(f"model.head={name}: the network has no such layer; {which} {shown}{nearest(name, choices)}")
    inside = list(known[name]) if isinstance(known[name], nn.Sequential) else [known[name]]
    for each in inside:
        if not isinstance(each, nn.Linear):
            raise UserError(
                f"model.head={name}: holds a {type(each).__name__}, and a head is made of Linear layers;"
                " name the last of them alone"
            )
    return inside


def _check(names: str, layers: Sequence[nn.Linear], num_classes: int) -> None:
    """The theorems' head: widths that fit, no bias but in the last layer, a number for each class."""
    said = f"model.head={names}"
    if not layers:
        raise UserError(f"{said}: holds no layer")
    if len(set(map(id, layers))) < len(layers):
        raise UserError(f"{said}: names a layer twice")
    for first, second in pairwise(layers):
        if first.out_features != second.in_features:
            raise UserError(
                f"{said}: are not one behind the other: {first.out_features} numbers out, {second.in_features} in"
            )
        if first.bias is not None:
            raise UserError(f"{said}: only its last layer may have a bias; name the last one alone")
    if layers[-1].out_features != num_classes:
        raise UserError(
            f"{said}: makes {layers[-1].out_features} numbers of each image, and there are {num_classes} classes;"
            " a constructor is told how many by its parameter num_classes"
        )


def _linear_names(network: nn.Module) -> list[str]:
    return [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
