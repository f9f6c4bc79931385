"""Looks at a user's network for its problem: width and sign of its features, and its own head."""

import json
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ncrun.errors import UserError
from ncrun.models.own.calling import calling, features_checked, forward_words
from ncrun.models.own.head import without_head
from ncrun.models.own.sign import Call, last_layer, sign_of
from ncrun.models.own.source import construct
from ncrun.models.own.spec import Module

IMAGES = 8


@dataclass(frozen=True)
class Found:
    """width, sign: of the features; how: how the sign is known. head_widths: the inputs of each layer of its own head,
    or None; head_bias: whether its last layer has a bias."""

    width: int
    sign: str
    how: str
    head_widths: tuple[int, ...] | None
    head_bias: bool


_found: dict[str, Found] = {}


def look(spec: Module, image_shape: tuple[int, int, int], num_classes: int) -> Found:
    """Builds one network of this spec and runs it on a few random images in evaluation mode. Every call gives the same
    answer, torch's random state does not change, and a process does this once for each network.

    Raises UserError for a network that cannot be built, or does not return features.
    """
    where = spec.where
    content = where.read().digest if where.file else ""
    key = json.dumps([where.said, content, spec.args, spec.head_names, spec.width, image_shape, num_classes])
    if key not in _found:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            _found[key] = _look(spec, torch.randn(IMAGES, *image_shape), num_classes)
    return _found[key]


def _look(spec: Module, images: Tensor, num_classes: int) -> Found:
    where, shape = spec.where, (images.shape[1], images.shape[2], images.shape[3])
    whole = construct(where, spec.args, shape, num_classes, with_head=bool(spec.head_names)).eval()
    with calling(where, forward_words(images)):
        logits = whole(images) if spec.head_names else None
    backbone, layers = without_head(whole, where, spec.head_names, num_classes)
    with calling(where, forward_words(images)):
        output, last = last_layer(backbone, images)
    features = features_checked(where, output, images, spec.width)
    width = features.shape[1]
    if layers is not None:
        _check_head(spec, features, layers, logits)
    elif spec.width is None and where.file and width == num_classes:
        _refuse_logits(spec, width, last)
    sign, how = sign_of(features, last)
    if layers is None:
        return Found(width, sign, how, None, False)
    return Found(width, sign, how, tuple(layer.in_features for layer in layers), layers[-1].bias is not None)


def _check_head(spec: Module, features: Tensor, layers: list[nn.Linear], logits: object) -> None:
    """Checks that these layers map the features to the network's own output."""
    said = f"model.head={','.join(spec.head_names)}"
    if features.shape[1] != layers[0].in_features:
        raise UserError(
            f"{said}: reads {layers[0].in_features} numbers, but without it {spec.where.name} returns"
            f" {features.shape[1]}; another layer follows it"
        )
    made = features
    for layer in layers:
        made = layer(made)
    # 1e-4 of the largest: more than float32 rounding, and far below any layer's effect.
    if not isinstance(logits, Tensor) or made.shape != logits.shape or _distance(made, logits) > 1e-4:
        raise UserError(
            f"{said}: {spec.where.name} does not return the output of these layers; another layer is between or after"
            " them"
        )


def _distance(made: Tensor, logits: Tensor) -> float:
    return float((made - logits).abs().max() / logits.abs().max().clamp(min=1e-30))


def _refuse_logits(spec: Module, width: int, last: Call | None) -> None:
    """An output of one number per class, from a linear layer, is probably logits, on which ncrun would put a second
    head."""
    if last is not None and isinstance(last.layer, nn.Linear) and last.name:
        raise UserError(
            f"{spec.where.said}: returns {width} numbers, one for each class; set model.head={last.name} if they are"
            f" logits, model.width={width} if they are features"
        )
