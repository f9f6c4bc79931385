"""Builds a user's network by its own constructor."""

import importlib.util
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import nn

from ncrun import own_file
from ncrun.errors import UserError, nearest
from ncrun.models.own.calling import calling
from ncrun.models.own.path import ModulePath
from ncrun.own_file import OwnFile

# Arguments by which a library would load weights; here training starts from random weights.
WEIGHTS = ("weights", "weights_backbone", "pretrained", "pretrained_cfg", "checkpoint_path")
_executed: dict[str, ModuleType] = {}  # by path and digest


def offered(image_shape: tuple[int, int, int], num_classes: int) -> dict[str, Any]:
    """Default arguments for a constructor, if it has parameters of these names. The size of a square image is one
    number, else height and width."""
    channels, height, width = image_shape
    size = height if height == width else (height, width)
    return {
        "num_classes": num_classes,
        "in_channels": channels,
        "in_chans": channels,
        "image_size": size,
        "img_size": size,
        "input_shape": image_shape,
    }


def construct(
    where: ModulePath, args: dict[str, Any], image_shape: tuple[int, int, int], num_classes: int, with_head: bool
) -> nn.Module:
    """The network with initial weights from torch's global random state, including its own last layer (for timm, only
    with_head).

    Raises UserError in one line for a missing class, for arguments that the constructor does not take, and for an error
    in it.
    """
    given = dict(args)
    if where.library:
        for key in WEIGHTS:
            if key in given:
                raise UserError(
                    f"model.args.{key}: has no effect: {where.library}'s models are trained from random weights"
                )
        if where.library == "torchvision":
            make, offers = _of_torchvision(where), {"num_classes": num_classes}
        else:  # with 0 classes timm makes no head
            make = _of_timm(where)
            offers = {"num_classes": num_classes if with_head else 0, "in_chans": image_shape[0]}
        given = offers | given
    else:
        make = _of_file(where.read(), where)
        given = _arguments(make, where, given, offered(image_shape, num_classes))
    with calling(where, "its constructor"):
        made = make(**given)
    if not isinstance(made, nn.Module):
        raise UserError(f"{where.said}: returns a {type(made).__name__}, not a torch.nn.Module")
    return made


def _of_file(file: OwnFile, where: ModulePath) -> Callable[..., Any]:
    """The class, or a function that makes the network. Executing the file does not change torch's random state, so that
    all networks of a process get the same weights."""
    key = f"{file.path} {file.digest}"
    if key not in _executed:
        with torch.random.fork_rng(devices=[]):
            _executed[key] = own_file.execute(file)
    module = _executed[key]
    made = getattr(module, where.name, None)
    if isinstance(made, nn.Module):
        raise UserError(f"{where.said}: is an object; name its class, or a function that makes a new one")
    if not callable(made):
        own = [name for name, each in vars(module).items() if _is_network(each) and each.__module__ == module.__name__]
        what = "has no such class" if made is None else "is no class"
        raise UserError(
            f"{where.said}: {what}; {file.path.name} has {', '.join(own) or 'none'}{nearest(where.name, own)}"
        )
    return made  # type: ignore[no-any-return]


def _is_network(thing: object) -> bool:
    return isinstance(thing, type) and issubclass(thing, nn.Module)


def _arguments(
    make: Callable[..., Any], where: ModulePath, given: dict[str, Any], offers: dict[str, Any]
) -> dict[str, Any]:
    """The constructor's arguments. Raises UserError, with the choices, for an unknown or a missing argument."""
    try:
        parameters = inspect.signature(make).parameters.values()
    except (TypeError, ValueError):  # for some that are written in C
        return given
    named = [each for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    names = [each.name for each in named]
    if not any(each.kind is each.VAR_KEYWORD for each in parameters):
        for key, value in given.items():
            if key not in names:
                takes = f"it takes {', '.join(names)}" if names else "it takes none"
                raise UserError(
                    f"model.args.{key}={value}: {where.name} has no such argument; {takes}{nearest(key, names)}"
                )
    arguments = {key: value for key, value in offers.items() if key in names} | given
    for each in named:
        if each.default is each.empty and each.name not in arguments:
            raise UserError(f"model.args.{each.name}: is missing; the constructor of {where.name} needs it")
    return arguments


def _of_torchvision(where: ModulePath) -> Callable[..., Any]:
    from torchvision import models

    names = models.list_models(module=models)  # image classifiers; not detection, video and the like
    if where.name not in names:
        raise UserError(f"{where.said}: torchvision has no image classifier of this name{nearest(where.name, names)}")
    return lambda **given: models.get_model(where.name, weights=None, **given)


def _of_timm(where: ModulePath) -> Callable[..., Any]:
    if importlib.util.find_spec("timm") is None:
        raise UserError(f"{where.said}: timm is not installed; pip install timm, or ncrun[integrations]")
    import timm

    if not timm.is_model(where.name):
        raise UserError(f"{where.said}: timm has no model of this name{nearest(where.name, timm.list_models())}")
    return lambda **given: timm.create_model(where.name, pretrained=False, **given)
