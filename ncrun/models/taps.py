"""Records the outputs of named layers of a backbone during its forward pass."""

from collections.abc import Iterable
from functools import partial

from torch import Tensor, nn


def layer_names(backbone: nn.Module) -> list[str]:
    """The layers that can be tapped, in the backbone's order: every module in it, as PyTorch names them."""
    return [name for name, module in backbone.named_modules() if name and not isinstance(module, nn.Flatten)]


def tapped(backbone: nn.Module, images: Tensor, names: Iterable[str]) -> tuple[Tensor, dict[str, Tensor]]:
    """The backbone's features of (B, C, H, W) images, and by name the (B, d) outputs of its layers.

    A convolutional layer's output (B, C, H, W) is averaged over its positions, and a transformer's (B, tokens, d) over
    its tokens. If a module is used several times in one pass, like a residual block's ReLU, the last output counts.
    """
    seen: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, inputs: object, output: Tensor) -> None:
        # Always a copy, because the ReLU after it may work in place.
        if output.dim() == 3:
            seen[name] = output.mean(dim=1)
        else:
            seen[name] = output.flatten(2).mean(dim=2) if output.dim() > 3 else output.clone()

    handles = [backbone.get_submodule(name).register_forward_hook(partial(keep, name)) for name in names]
    try:
        features: Tensor = backbone(images)
    finally:
        for handle in handles:
            handle.remove()
    return features, seen


def reader_of(backbone: nn.Module, name: str, head_weight: Tensor) -> Tensor | None:
    """The weights that read this layer's output directly: those of the next linear layer, or of the head's first layer
    (`head_weight`). None if something is in between, or if the order of the layers is not known, as it is only for
    children of a Sequential."""
    if not isinstance(backbone, nn.Sequential):
        return None
    children = list(backbone.named_children())
    place = [child for child, _ in children].index(name) if name in dict(children) else None
    if place is None:
        return None
    if place + 1 == len(children):
        return head_weight
    behind = children[place + 1][1]
    return behind.weight if isinstance(behind, nn.Linear) else None
