"""Tries a user's network before training: checks what training and measuring assume."""

import math

import torch
from torch import Tensor

from ncrun.errors import UserError
from ncrun.models.network import Network
from ncrun.models.own.calling import calling, features_checked, forward_words
from ncrun.models.own.path import ModulePath
from ncrun.models.own.sign import last_layer, sign_of
from ncrun.models.own.spec import Module
from ncrun.models.taps import tapped
from ncrun.run import Run
from ncrun.training.fixed_norms import check_norms
from ncrun.training.gradients import tf32

IMAGES = 16
# Randomly dropped layers have no gradient in some passes.
PASSES = 5


def try_out(run: Run, spec: Module, network: Network, images: Tensor) -> None:
    """network: a copy that will not be trained, in the training's dtype. images: a few of the run's, on its device.
    Random layers use torch's random state.

    Raises UserError for output that is not features, a feature sign other than the problem's, an evaluation mode that
    is random or mixes images, and parameters without gradient.
    """
    where = spec.where
    with tf32(False):
        network.eval()
        with torch.no_grad(), calling(where, forward_words(images)):
            output, last = last_layer(network.backbone, images)
            features = features_checked(where, output, images, run.problem.widths[0])
            again = network.backbone(images)
            single = images[:1]
        if _differ(features, again):
            raise UserError(
                f"{where.said}: its evaluation mode is not deterministic: the same images get other features the"
                " second time (dropout that ignores self.training?)"
            )
        with torch.no_grad(), calling(where, forward_words(single)):
            alone = features_checked(where, network.backbone(single), single)
        if _differ(features[:1], alone):
            raise UserError(
                f"{where.said}: in evaluation mode the features of an image depend on the others in its batch (batch"
                " statistics instead of running ones?)"
            )
        _check_sign(run.problem.feature_sign, sign_of(features, last), features)
        check_norms(run, network, images)
        _check_taps(run, network, where, images, features)
        _check_gradients(run, network, where, images)


def _check_sign(claimed: str, seen: tuple[str, str], features: Tensor) -> None:
    sign, how = seen
    if sign == claimed:
        return
    hint = f"; the smallest is {float(features.min()):.3g}" if sign == "free" else ""
    raise UserError(f"model.feature_sign={claimed}: the features are {sign}, {how}{hint}")


def _check_taps(run: Run, network: Network, where: ModulePath, images: Tensor, features: Tensor) -> None:
    """Checks that every tapped layer is used, and returns one tensor with a row for each image."""
    if not run.taps:
        return
    seen: dict[str, Tensor] = {}
    for tap in run.taps:
        try:
            with torch.no_grad():
                seen |= tapped(network.backbone, images, [tap])[1]
        except (AttributeError, IndexError):  # for anything but a tensor
            raise UserError(f"taps: {tap} of {where.name} does not return one tensor") from None
        if tap not in seen:
            raise UserError(f"taps: {tap} of {where.name} is not used in a forward pass")
        if seen[tap].dim() != 2 or len(seen[tap]) != len(features):
            raise UserError(f"taps: {tap} of {where.name} does not return a row for each image")


def _check_gradients(run: Run, network: Network, where: ModulePath, images: Tensor) -> None:
    images = images[: run.descent.batch_size]
    trained = {name: each for name, each in network.backbone.named_parameters() if each.requires_grad}
    network.train()
    for _ in range(PASSES):
        with calling(where, forward_words(images, training=True)):
            features = features_checked(where, network.backbone(images), images, run.problem.widths[0], True)
        if features.requires_grad:
            with calling(where, "its backward pass"):
                (features * torch.randn_like(features)).sum().backward()  # type: ignore[no-untyped-call]
        left = [name for name, each in trained.items() if each.grad is None]
        if not left:
            return
    more = f" and {len(left) - 3} more" if len(left) > 3 else ""
    raise UserError(
        f"{where.said}: no gradient reaches {', '.join(left[:3])}{more}, so they would not be trained; remove them, or"
        " set their requires_grad=False"
    )


def _differ(first: Tensor, second: Tensor) -> bool:
    """Whether they differ by more than rounding: by half of the digits, relative to the largest number."""
    if first.shape != second.shape:
        return True
    largest, apart = float(first.abs().max()), float((first - second).abs().max())
    return apart > math.sqrt(torch.finfo(first.dtype).eps) * largest
