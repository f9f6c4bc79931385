"""The networks in front of the head. Each maps (B, C, H, W) images to (B, d) features."""

from itertools import pairwise

from torch import nn

from ncrun.config import DENSENET_LAYERS

# Convolutions in each of VGG's five stages.
VGG_REPEATS = {11: (1, 1, 2, 2, 2), 16: (2, 2, 3, 3, 3)}


def deep_linear(num_inputs: int, depth: int, width: int) -> nn.Sequential:
    """`depth` linear layers on the flattened inputs, no activation, no bias."""
    sizes = [num_inputs, *[width] * depth]
    layers = [nn.Linear(a, b, bias=False) for a, b in pairwise(sizes)]
    return nn.Sequential(nn.Flatten(), *layers)


def mlp(num_inputs: int, depth: int, width: int, batch_norm: bool, relu_features: bool = False) -> nn.Sequential:
    """The ReLU network of Dang et al. 2023, in its two released variants, and that of Dang et al. 2024.

    batch_norm: every block is Linear, ReLU, BatchNorm, and one more BatchNorm follows the last block.
    Otherwise: blocks of Linear, ReLU, then one more linear layer, which a ReLU follows with relu_features. Without that
    the features have free sign.
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
    if relu_features:
        modules.append(nn.ReLU())
    return nn.Sequential(nn.Flatten(), *modules)


def resnet18(channels: int, stage_widths: tuple[int, ...], feature_norm: bool) -> nn.Sequential:
    """ResNet18 for small images: a 3 x 3 stem without pooling. feature_norm: a BatchNorm on the pooled features, as
    released with Dang et al. 2023, which makes their sign free; without it, as in Dang et al. 2024, they are >= 0."""
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
    return _pooled(modules, width_in, feature_norm)


def vgg(channels: int, depth: int, widths: tuple[int, ...], feature_norm: bool) -> nn.Sequential:
    """VGG11 or VGG16 with BatchNorm, its convolutions only; five poolings leave one pixel of a 32 x 32 image.

    widths: channels of the five stages. feature_norm: a BatchNorm on the features, as released with Dang et al. 2023;
    without it, as in Dang et al. 2024, they are >= 0.
    """
    from torchvision.models.vgg import make_layers

    plan: list[str | int] = []
    for width, repeats in zip(widths, VGG_REPEATS[depth], strict=True):
        plan += [width] * repeats + ["M"]
    layers = make_layers(plan, batch_norm=True)
    layers[0] = nn.Conv2d(channels, widths[0], 3, padding=1)
    return _pooled(list(layers), widths[-1], feature_norm)


def densenet(channels: int, widths: tuple[int, ...], feature_norm: bool) -> nn.Sequential:
    """DenseNet-BC for small images as released with Dang et al. 2024: blocks of 6, 12, 24 and 16 layers, a 3 x 3 stem
    of twice the growth, halving between the blocks. The pooled features follow a ReLU.

    widths: channels of the stem, and behind each block.
    """
    from torchvision.models.densenet import _DenseBlock, _Transition

    growth = widths[0] // 2
    modules: list[nn.Module] = [nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)]
    width = widths[0]
    for layers, after in zip(DENSENET_LAYERS, widths[1:], strict=True):
        if len(modules) > 1:
            modules.append(_Transition(width, width // 2))
            width //= 2
        modules.append(_DenseBlock(layers, width, bn_size=4, growth_rate=growth, drop_rate=0.0))
        width = after
    modules += [nn.BatchNorm2d(width), nn.ReLU()]
    return _pooled(modules, width, feature_norm)


def _pooled(modules: list[nn.Module], width: int, feature_norm: bool) -> nn.Sequential:
    norm = [nn.BatchNorm1d(width)] if feature_norm else []
    return nn.Sequential(*modules, nn.AdaptiveAvgPool2d(1), nn.Flatten(), *norm)
