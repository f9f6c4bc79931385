"""Uses a user's network's own last linear layers as the head."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from ncrun.errors import UserError, nearest
from ncrun.models.own.path import ModulePath


def without_head(
    network: nn.Module, where: ModulePath, names: Sequence[str], num_classes: int
) -> tuple[nn.Module, list[nn.Linear] | None]:
    """The network up to its features, and the layers of its own head, W_1 first, or None with ncrun's head: then a
    model of torchvision loses its last layer (timm's are built without one).

    The head's layers are replaced by identities, so that the network returns their input; look.py checks this. Raises
    UserError unless the names are consecutive linear layers.
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
    """The network without its last linear layer, which has one output for each class. Raises UserError if there is
    none."""
    names = _linear_names(network)
    last = network.get_submodule(names[-1]) if names else None
    if not isinstance(last, nn.Linear) or last.out_features != num_classes:
        raise UserError(f"{said}: does not end in a linear layer that ncrun's head could replace")
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
                f"model.head={name}: holds a {type(each).__name__}, but a head consists of Linear layers; name only"
                " the last of them"
            )
    return inside


def _check(names: str, layers: Sequence[nn.Linear], num_classes: int) -> None:
    """Checks that it is the theorems' head: widths that fit, a bias only in the last layer, one output for each
    class."""
    said = f"model.head={names}"
    if not layers:
        raise UserError(f"{said}: holds no layer")
    if len(set(map(id, layers))) < len(layers):
        raise UserError(f"{said}: names a layer twice")
    for first, second in pairwise(layers):
        if first.out_features != second.in_features:
            raise UserError(
                f"{said}: do not follow each other: {first.out_features} numbers out, {second.in_features} in"
            )
        if first.bias is not None:
            raise UserError(f"{said}: only its last layer may have a bias; name only the last one")
    if layers[-1].out_features != num_classes:
        raise UserError(
            f"{said}: has {layers[-1].out_features} outputs for {num_classes} classes; a constructor gets the number"
            " by its parameter num_classes"
        )


def _linear_names(network: nn.Module) -> list[str]:
    return [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
