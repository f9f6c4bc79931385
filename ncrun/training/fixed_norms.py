"""BatchNorm with the statistics of the whole training set instead of each batch's. Then the network is the same
function in training and in evaluation, and training minimises the objective itself."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ncrun.data.streamed import StreamedImages
from ncrun.errors import UserError
from ncrun.models.network import Network
from ncrun.run import Run
from ncrun.training.features import first_images, forward_rows, in_parts
from ncrun.training.gradients import tf32

# Images for finding the order in which a network uses its layers.
FEW_IMAGES = 2


@torch.no_grad()
@tf32(False)
def fix_norms(network: Network, images: Tensor | StreamedImages, batch_size: int) -> None:
    """Gives every BatchNorm the mean and (biased) variance of its inputs over all training images, with all layers
    below fixed already. After that none uses or collects statistics of a batch.

    images: (N, C, H, W), in blocks as large as a training step or an evaluation. If one block holds all, a single pass
    fixes one layer after the other; else each layer needs a pass. Sums are in float64.
    """
    network.eval()
    rows = max(batch_size, forward_rows(images))
    norms = list(uses_of_norms(network.backbone, first_images(images, FEW_IMAGES)))
    for together in [norms] if len(images) <= rows else [[norm] for norm in norms]:
        handles = [norm.register_forward_pre_hook(_collecting(norm)) for norm in together]
        for _, chunk in in_parts(images, rows):
            network.backbone(chunk)
        for handle in handles:
            handle.remove()
    network.keep_norms()


def check_norms(run: Run, network: Network, images: Tensor | StreamedImages) -> None:
    """Checks that freeze_norm has BatchNorms, each used at one place, and that finish with BatchNorms has freeze_norm.
    Leaves the network in evaluation mode. Raises UserError."""
    wanted, name = run.descent.norms_fixed_after, run.model.title
    if not (wanted or run.descent.finish):
        return
    network.eval()
    with torch.no_grad():
        uses = uses_of_norms(network.backbone, images[:FEW_IMAGES])
    share = f"freeze_norm={run.config['freeze_norm']}"
    if wanted and not uses:
        raise UserError(f"{share}: has no effect: {name} has no BatchNorm")
    if wanted and max(uses.values()) > 1:
        raise UserError(
            f"{share}: {name} uses a BatchNorm {max(uses.values())} times in a forward pass, so its statistics cannot"
            " be fixed"
        )
    if uses and not wanted:
        raise UserError(f"finish={run.config['finish']}: needs freeze_norm of at most 1: BatchNorm in {name}")


def uses_of_norms(backbone: nn.Module, images: Tensor) -> Counter[_BatchNorm]:
    """How often a forward pass uses each BatchNorm, in the order of the first use."""
    uses: Counter[_BatchNorm] = Counter()
    norms = [module for module in backbone.modules() if isinstance(module, _BatchNorm)]
    handles = [norm.register_forward_pre_hook(lambda module, _: uses.update([module])) for norm in norms]
    try:
        backbone(images)
    finally:
        for handle in handles:
            handle.remove()
    return uses


def _collecting(norm: _BatchNorm) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    """A hook that updates the layer's statistics to those of all its inputs so far."""
    count, mean, deviations = 0, torch.zeros(()), torch.zeros(())

    def collect(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        nonlocal count, mean, deviations
        points = inputs[0].transpose(0, 1).flatten(1).double()  # channels first
        here = points.shape[1]
        new = points.mean(dim=1)
        squares = (points - new[:, None]).square().sum(dim=1)
        if count:  # merged as in Chan, Golub and LeVeque 1979
            apart = new - mean
            squares += deviations + apart.square() * (count * here / (count + here))
            new = mean + apart * (here / (count + here))
        count, mean, deviations = count + here, new, squares
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(deviations / count)

    return collect
