"""The networks in front of the head. Each maps (B, C, H, W) images to (B, d) features.

Its layers have names, under which they can be tapped (ncrun.models.taps): linear1, relu1, linear2, ... or conv, stage1,
stage2, ...
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable
from itertools import pairwise

from torch import nn

from ncrun.config import DENSENET_LAYERS

# Convolutions in each of VGG's five stages, and blocks in each stage of a ResNet.
VGG_REPEATS = {11: (1, 1, 2, 2, 2), 16: (2, 2, 3, 3, 3)}
RESNET_BLOCKS = {18: 2, 20: 3}

Named = list[tuple[str, nn.Module]]


def deep_linear(num_inputs: int, depth: int, width: int) -> nn.Sequential:
    """`depth` linear layers on the flattened inputs, no activation, no bias."""
    sizes = [num_inputs, *[width] * depth]
    layers = [(f"linear{i + 1}", nn.Linear(a, b, bias=False)) for i, (a, b) in enumerate(pairwise(sizes))]
    return _sequence([("flatten", nn.Flatten()), *layers])


def mlp(num_inputs: int, depth: int, width: int, batch_norm: bool, relu_features: bool = False) -> nn.Sequential:
    """The ReLU network of Dang et al. 2023, in its two released variants, and that of Dang et al. 2024.

    batch_norm: every block is Linear, ReLU, BatchNorm, and one more BatchNorm follows the last block.
    Otherwise: blocks of Linear, ReLU, then one more linear layer, which a ReLU follows with relu_features. Without that
    the features have free sign.
    Initial weights: orthogonal in the linear layers that stand among the first six modules (a quirk of the released
    code, kept because it decides the starting point), PyTorch's default in the others; here for any depth, the first
    `depth` modules.
    """
    modules: Named = []
    for layer in range(1, depth + 1):
        modules += [
            (f"linear{layer}", nn.Linear(num_inputs if layer == 1 else width, width)),
            (f"relu{layer}", nn.ReLU()),
        ]
        if batch_norm:
            modules.append((f"norm{layer}", nn.BatchNorm1d(width)))
    for _, module in modules[:depth]:
        if isinstance(module, nn.Linear):
            nn.init.orthogonal_(module.weight)
    modules.append(("norm", nn.BatchNorm1d(width)) if batch_norm else (f"linear{depth + 1}", nn.Linear(width, width)))
    if relu_features:
        modules.append((f"relu{depth + 1}", nn.ReLU()))
    return _sequence([("flatten", nn.Flatten()), *modules])


def resnet(channels: int, depth: int, stage_widths: tuple[int, ...], feature_norm: bool) -> nn.Sequential:
    """ResNet18 or ResNet20 for small images: a 3 x 3 stem without pooling. A shortcut that changes the width is a 1 x 1
    convolution.

    stage_widths: channels of the four (ResNet20: three) stages. feature_norm: a BatchNorm on the pooled features, as
    released with Dang et al. 2023, which makes their sign free; without it, as in Dang et al. 2024, they are >= 0.
    """
    from torchvision.models.resnet import BasicBlock  # heavy, and only needed here

    def block(width_in: int, width: int, stride: int) -> nn.Module:
        shortcut = None
        if stride != 1 or width_in != width:
            shortcut = nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))
        return BasicBlock(width_in, width, stride, shortcut)  # type: ignore[no-any-return]

    modules: Named = [
        ("conv", nn.Conv2d(channels, stage_widths[0], 3, 1, 1, bias=False)),
        ("norm", nn.BatchNorm2d(stage_widths[0])),
        ("relu", nn.ReLU()),
    ]
    width_in = stage_widths[0]
    for stage, width in enumerate(stage_widths, start=1):
        first = block(width_in, width, 1 if stage == 1 else 2)
        others = [block(width, width, 1) for _ in range(RESNET_BLOCKS[depth] - 1)]
        modules.append((f"stage{stage}", nn.Sequential(first, *others)))
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
    words = {nn.Conv2d: "conv", nn.BatchNorm2d: "norm", nn.ReLU: "relu", nn.MaxPool2d: "pool"}
    count: Counter[str] = Counter()
    modules: Named = []
    for layer in layers:
        word = words[type(layer)]
        count[word] += 1
        modules.append((f"{word}{count[word]}", layer))
    return _pooled(modules, widths[-1], feature_norm)


def densenet(channels: int, widths: tuple[int, ...], feature_norm: bool) -> nn.Sequential:
    """DenseNet-BC for small images as released with Dang et al. 2024: blocks of 6, 12, 24 and 16 layers, a 3 x 3 stem
    of twice the growth, halving between the blocks. The pooled features follow a ReLU.

    widths: channels of the stem, and behind each block.
    """
    from torchvision.models.densenet import _DenseBlock, _Transition

    growth = widths[0] // 2
    modules: Named = [("conv", nn.Conv2d(channels, widths[0], 3, padding=1, bias=False))]
    width = widths[0]
    for stage, (layers, after) in enumerate(zip(DENSENET_LAYERS, widths[1:], strict=True), start=1):
        if stage > 1:
            modules.append((f"transition{stage - 1}", _Transition(width, width // 2)))
            width //= 2
        block = _DenseBlock(layers, width, bn_size=4, growth_rate=growth, drop_rate=0.0)
        modules.append((f"block{stage}", block))
        width = after
    modules += [("norm", nn.BatchNorm2d(width)), ("relu", nn.ReLU())]
    return _pooled(modules, width, feature_norm)


def _pooled(modules: Named, width: int, feature_norm: bool) -> nn.Sequential:
    norm: Named = [("feature_norm", nn.BatchNorm1d(width))] if feature_norm else []
    return _sequence([*modules, ("pool", nn.AdaptiveAvgPool2d(1)), ("flatten", nn.Flatten()), *norm])


def _sequence(modules: Iterable[tuple[str, nn.Module]]) -> nn.Sequential:
    return nn.Sequential(OrderedDict(modules))
