"""The networks in front of the head. Each maps (B, C, H, W) images to (B, d) features."""

from itertools import pairwise

from torch import nn


def deep_linear(num_inputs: int, depth: int, width: int) -> nn.Sequential:
    """`depth` linear layers on the flattened inputs, no activation, no bias."""
    sizes = [num_inputs, *[width] * depth]
    layers = [nn.Linear(a, b, bias=False) for a, b in pairwise(sizes)]
    return nn.Sequential(nn.Flatten(), *layers)


def mlp(num_inputs: int, depth: int, width: int, batch_norm: bool) -> nn.Sequential:
    """The ReLU network of Dang et al. 2023, in its two released variants.

    batch_norm: every block is Linear, ReLU, BatchNorm, and one more BatchNorm follows the last block.
    Otherwise: blocks of Linear, ReLU, then one more linear layer without activation. Either way the features have
    free sign.
    Initial weights: orthogonal in the linear layers that stand among the first six modules (a quirk of the released
    code, kept because it decides the starting point), PyTorch's default in the others; here for any depth, the first
    `depth` modules.
    """
    modules: list[nn.Module] = []
    for layer in range(depth):
        modules += [nn.Linear(num_inputs if layer == 0 else width, width), nn.ReLU()]
        if batch_norm:
            modules.append(nn.BatchNorm1d(width))
    for module in modules[:depth]:
        if isinstance(module, nn.Linear):
            nn.init.orthogonal_(module.weight)
    modules.append(nn.BatchNorm1d(width) if batch_norm else nn.Linear(width, width))
    return nn.Sequential(nn.Flatten(), *modules)


def resnet18(channels: int, stage_widths: tuple[int, ...]) -> nn.Sequential:
    """ResNet18 for small images: a 3 x 3 stem without pooling, and a BatchNorm on the pooled features, as released with
    Dang et al. 2023, which makes their sign free."""
    from torchvision.models.resnet import BasicBlock  # heavy, and only needed here

    def block(width_in: int, width: int, stride: int) -> nn.Module:
        shortcut = None
        if stride != 1 or width_in != width:
            shortcut = nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))
        return BasicBlock(width_in, width, stride, shortcut)  # type: ignore[no-any-return]

    modules: list[nn.Module] = [
        nn.Conv2d(channels, stage_widths[0], 3, 1, 1, bias=False),
        nn.BatchNorm2d(stage_widths[0]),
        nn.ReLU(),
    ]
    width_in = stage_widths[0]
    for stage, width in enumerate(stage_widths):
        modules += [block(width_in, width, 1 if stage == 0 else 2), block(width, width, 1)]
        width_in = width
    return nn.Sequential(*modules, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(width_in))
