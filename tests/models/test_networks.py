"""Shapes, initial weights and the exact architecture of the networks."""

import pytest
import torch
from conftest import Refused, RunOf, built
from torch import nn

from ncrun.models import MODELS
from ncrun.models.densenet import densenet
from ncrun.models.network import Network
from ncrun.models.resnet import resnet
from ncrun.models.vgg import VGG11, vgg


def images(network_shape: tuple[int, int, int], size: int = 4) -> torch.Tensor:
    return torch.randn(size, *network_shape, generator=torch.Generator().manual_seed(0))


def linears(module: nn.Module) -> list[nn.Linear]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Linear)]


def is_orthogonal(weight: torch.Tensor) -> bool:
    """Rows, or columns if there are fewer of them, are orthonormal."""
    w = weight if weight.shape[0] <= weight.shape[1] else weight.T
    return torch.allclose(w @ w.T, torch.eye(len(w)), atol=1e-4)


def networks(run_of: RunOf, *overrides: str) -> Network:
    network = built(run_of(*overrides))
    assert isinstance(network, Network)
    return network


@pytest.mark.parametrize("dataset", ["digits", "cifar10"])
@pytest.mark.parametrize(
    ("model", "width"),
    [
        ("model=mlp model.width=12 model.depth=2", 12),
        ("model=mlp model.width=12 model.batch_norm=true", 12),
        ("model=deep_linear model.width=12 model.depth=3", 12),
        ("model=mlp model.width=12 model.features=relu", 12),
        ("model=resnet18 model.width=0.0625", 32),
        ("model=resnet20 model.width=0.25", 16),
        ("model=vgg11 model.width=0.05 dataset.size=32", 26),
        ("model=vgg16 model.width=0.05 dataset.size=32", 26),
        ("model=densenet model.width=0.05", 32),
    ],
)
@pytest.mark.parametrize("head", ["head.depth=1", "head.depth=3", "head.depth=3 head.width=7"])
def test_shapes(dataset: str, model: str, width: int, head: str, run_of: RunOf) -> None:
    run = run_of(f"dataset={dataset}", *model.split(), *head.split())
    network = built(run)
    features, logits = network(images(run.data.image_shape))
    assert features.shape == (4, width)
    assert logits.shape == (4, 10)
    assert run.model.feature_width == width
    hidden = 7 if "head.width" in head else width
    sizes = [width, *[hidden] * (run.problem.depth - 1), 10]
    assert [tuple(w.shape) for w in network.head.weights] == list(zip(sizes[1:], sizes[:-1], strict=True))
    assert run.problem.widths == tuple(sizes[:-1])


@pytest.mark.parametrize(
    ("overrides", "orthogonal"),
    [
        # papers.md A5: the first six modules of a network of depth 6, at multiples of three or two
        ("model.batch_norm=true", [True, True, False, False, False, False]),
        # and the intermediate linear layer, the seventh, by default
        ("model.batch_norm=false", [True, True, True, False, False, False, False]),
    ],
)
def test_orthogonal_layers_are_those_of_the_released_code(
    overrides: str, orthogonal: list[bool], run_of: RunOf
) -> None:
    network = networks(run_of, overrides, "model.depth=6", "model.width=40", "head.depth=3", "head.width=30")
    assert [is_orthogonal(layer.weight) for layer in linears(network.backbone)] == orthogonal
    assert [is_orthogonal(weight) for weight in network.head.weights] == [True] * 3


@pytest.mark.parametrize("model", ["model=deep_linear model.width=40", "model=resnet18 model.width=0.0625"])
def test_head_of_other_models_is_pytorchs_default(model: str, run_of: RunOf) -> None:
    network = networks(run_of, *model.split(), "head.depth=2")
    assert [is_orthogonal(weight) for weight in network.head.weights] == [False, False]


@pytest.mark.parametrize("depth", [1, 2, 6])
def test_modules_of_the_mlp(depth: int, run_of: RunOf) -> None:
    """Linear, ReLU, BatchNorm and a BatchNorm once more; or Linear, ReLU and one more linear layer with a bias."""
    with_norm = networks(run_of, "model.batch_norm=true", f"model.depth={depth}", "model.width=8").backbone
    block = [nn.Linear, nn.ReLU, nn.BatchNorm1d]
    assert [type(m) for m in with_norm] == [nn.Flatten, *block * depth, nn.BatchNorm1d]
    without = networks(run_of, "model.batch_norm=false", f"model.depth={depth}", "model.width=8").backbone
    assert [type(m) for m in without] == [nn.Flatten, *[nn.Linear, nn.ReLU] * depth, nn.Linear]
    assert all(layer.bias is not None for layer in linears(without))


def test_relu_features_leave_the_mlps_initial_weights_alone(run_of: RunOf) -> None:
    """The ReLU stands behind the last layer, so the layers among the first six modules are the same."""
    linear, relu = (networks(run_of, "model.width=16", f"model.features={f}") for f in ("linear", "relu"))
    assert [type(m) for m in relu.backbone] == [*(type(m) for m in linear.backbone), nn.ReLU]
    for key, value in linear.state_dict().items():
        assert torch.equal(value, relu.state_dict()[key]), key
    x = images((1, 8, 8))
    assert torch.equal(relu.features(x), linear.features(x).relu())


def test_features_of_the_mlp_have_free_sign(run_of: RunOf) -> None:
    for norm in ("true", "false"):
        network = networks(run_of, f"model.batch_norm={norm}", "model.depth=2", "model.width=16")
        features, _ = network(images((1, 8, 8), 32))
        assert (features < 0).any()
        assert (features > 0).any()


def test_deep_linear_is_linear(run_of: RunOf) -> None:
    network = networks(run_of, "model=deep_linear", "model.depth=3", "model.width=20", "head.depth=2").double()
    x, y = images((1, 8, 8), 3).double(), images((1, 8, 8), 6)[3:].double()
    features, logits = network(2 * x - 3 * y)
    (fx, zx), (fy, zy) = network(x), network(y)
    assert torch.allclose(features, 2 * fx - 3 * fy)
    assert torch.allclose(logits, 2 * zx - 3 * zy)


def test_only_the_last_layer_of_the_head_has_a_bias(run_of: RunOf) -> None:
    bare = networks(run_of, "head.depth=3", "model.width=8")
    assert [layer.bias is None for layer in bare.head.layers] == [True, True, True]
    assert torch.equal(bare.head.in_float64().bias, torch.zeros(10, dtype=torch.float64))
    biased = networks(run_of, "head.depth=3", "model.width=8", "head.bias=true")
    assert [layer.bias is None for layer in biased.head.layers] == [True, True, False]
    assert biased.head.in_float64().bias.tolist() == biased.head.layers[-1].bias.tolist()


def test_head_is_the_product_of_its_weights(run_of: RunOf) -> None:
    network = networks(run_of, "head.depth=3", "head.bias=true", "model.width=8").double()
    features, logits = network(images((1, 8, 8)).double())
    w1, w2, w3 = network.head.weights
    assert torch.allclose(logits, features @ (w3 @ w2 @ w1).T + network.head.layers[-1].bias)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_relu_between_the_heads_layers(depth: int, run_of: RunOf) -> None:
    """None before the first layer, none behind the last."""
    network = networks(run_of, f"head.depth={depth}", "head.relu=true", "model.width=12").double()
    features, logits = network(images((1, 8, 8)).double())
    signal, *rest = network.head.weights
    wanted = features @ signal.T
    for weight in rest:
        wanted = wanted.clamp(min=0) @ weight.T
    assert torch.allclose(logits, wanted)
    assert (features < 0).any()
    assert network.head.in_float64().relu
    assert all(layer.bias is None for layer in network.head.layers)
    plain = networks(run_of, f"head.depth={depth}", "model.width=12").double()
    assert torch.equal(plain(images((1, 8, 8)).double())[1], logits) == (depth == 1)


CONVOLUTIONAL = {
    "resnet18": "model=resnet18 model.width=0.0625",
    "resnet20": "model=resnet20 model.width=0.0625",
    "vgg11": "model=vgg11 model.width=0.05 dataset.size=32",
    "vgg16": "model=vgg16 model.width=0.05 dataset.size=32",
    "densenet": "model=densenet model.width=0.1",
}
SMALL = {"mlp": "model.width=12", "deep_linear": "model=deep_linear model.width=12", **CONVOLUTIONAL}
FREE = {"ufm", "ufm_relu", "dufm"}


def test_every_model_is_one_of_these() -> None:
    assert {*SMALL, *FREE, "module"} == set(MODELS.keys())  # module: tests/models/test_own_network.py


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("typed", SMALL.values(), ids=SMALL)
def test_every_model_takes_the_images_of_its_data_set(typed: str, channels: int, run_of: RunOf) -> None:
    run = run_of(*typed.split(), f"dataset.channels={channels}", "classes=[4,1,7]")
    features, logits = built(run)(images(run.data.image_shape))
    assert features.shape == (4, run.model.feature_width)
    assert logits.shape == (4, 3)


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_feature_norm_decides_the_sign(name: str, run_of: RunOf) -> None:
    """It is one more module at the end; the features before it follow a ReLU."""
    with_norm, without = (
        networks(run_of, *CONVOLUTIONAL[name].split(), f"model.feature_norm={value}") for value in ("true", "false")
    )
    assert [type(m) for m in with_norm.backbone] == [*(type(m) for m in without.backbone), nn.BatchNorm1d]
    x = images(run_of(*CONVOLUTIONAL[name].split()).data.image_shape, 16)
    bounded, free = without.features(x), with_norm.features(x)
    assert bounded.min() >= 0
    assert bounded.max() > 0
    assert free.min() < 0 < free.max()


def vgg_parameters(channels: int, convolutions: list[tuple[int, int]], classes: int) -> int:
    """3 x 3 convolutions with bias, two numbers a channel for each BatchNorm; convolutions: (how many, width)."""
    total, previous = 0, channels
    for repeats, width in convolutions:
        for _ in range(repeats):
            total += previous * width * 9 + width + 2 * width
            previous = width
    return total + 2 * previous + previous * classes  # the features' BatchNorm; the head


@pytest.mark.parametrize(
    ("name", "convolutions", "published"),
    [
        # torchvision's networks less their classifier of 7 x 7 x 512 -> 4096 -> 4096 -> 1000, with biases
        ("vgg11", [(1, 64), (1, 128), (2, 256), (2, 512), (2, 512)], 132_868_840),
        ("vgg16", [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)], 138_365_992),
    ],
)
def test_vgg_has_the_parameters_of_a_vgg(
    name: str, convolutions: list[tuple[int, int]], published: int, run_of: RunOf
) -> None:
    network = networks(run_of, "dataset=cifar10", f"model={name}")
    count = sum(p.numel() for p in network.parameters())
    assert count == vgg_parameters(3, convolutions, 10)
    classifier = (25088 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 1000
    assert count == published - classifier + 2 * 512 + 512 * 10
    kinds = [type(m) for m in network.backbone if isinstance(m, nn.Conv2d | nn.MaxPool2d)]
    assert kinds == [k for repeats, _ in convolutions for k in (*[nn.Conv2d] * repeats, nn.MaxPool2d)]


def test_vgg_leaves_one_pixel_of_its_smallest_image() -> None:
    network = vgg(1, VGG11.repeats, (2, 3, 4, 5, 6), feature_norm=False)
    assert network[:-2](images((1, 32, 32))).shape == (4, 6, 1, 1)


def densenet_parameters(channels: int, growth: int, classes: int) -> int:
    """DenseNet-BC by hand: a layer is BatchNorm, 1 x 1 to four times the growth, BatchNorm, 3 x 3 to the growth."""
    width = 2 * growth
    total = channels * width * 9
    for block, layers in enumerate((6, 12, 24, 16)):
        if block:
            total += 2 * width + width * (width // 2)  # BatchNorm and a 1 x 1 convolution that halves the channels
            width //= 2
        for _ in range(layers):
            total += 2 * width + width * 4 * growth + 2 * 4 * growth + 4 * growth * growth * 9
            width += growth
    return total + 2 * width + width * classes  # a BatchNorm behind the last block; the head


def test_densenet_has_the_parameters_of_a_densenet(run_of: RunOf) -> None:
    network = networks(run_of, "dataset=cifar10", "model=densenet")
    count = sum(p.numel() for p in network.parameters())
    assert count == densenet_parameters(3, 12, 10)
    assert run_of("dataset=cifar10", "model=densenet").model.feature_width == 384
    convolutions = [m for m in network.backbone.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 1 + 2 * (6 + 12 + 24 + 16) + 3
    assert all(m.bias is None for m in convolutions)


def test_densenet_keeps_the_resolution_in_its_stem_and_halves_it_three_times(run_of: RunOf) -> None:
    network = networks(run_of, "dataset=cifar10", "model=densenet", "model.width=0.1")
    assert network.backbone[0](images((3, 32, 32))).shape == (4, 2, 32, 32)
    assert network.backbone[:-2](images((3, 32, 32))).shape[2:] == (4, 4)
    widths = (6, 24, 48, 96, 96)  # 2 x 3; + 6 x 3; half + 12 x 3; half + 24 x 3; half + 16 x 3
    features = densenet(1, widths, feature_norm=False)(images((1, 8, 8)))
    assert features.shape == (4, 96)


@pytest.mark.parametrize("name", ["vgg11", "vgg16", "densenet"])
def test_convolutional_networks_never_narrow_to_nothing(name: str, run_of: RunOf) -> None:
    run = run_of(f"model={name}", "model.width=1e-3", "dataset.size=32")
    assert built(run)(images(run.data.image_shape))[0].shape == (4, run.model.feature_width)


@pytest.mark.parametrize("name", ["vgg11", "vgg16"])
def test_vgg_on_images_that_are_too_small(name: str, refused: Refused) -> None:
    line = refused("train", f"model={name}", "dataset=digits")
    assert line.startswith(f"model={name}: ")
    assert "set dataset.size=32" in line


def resnet18_parameters(channels: int, widths: tuple[int, ...], classes: int) -> int:
    """Counted by hand: 3 x 3 convolutions without bias, two numbers a channel for each BatchNorm."""
    total = channels * widths[0] * 9 + 2 * widths[0]
    previous = widths[0]
    for width in widths:
        first = previous * width * 9 + 2 * width
        others = 3 * (width * width * 9 + 2 * width)
        shortcut = previous * width + 2 * width if previous != width else 0
        total += first + others + shortcut
        previous = width
    return total + 2 * previous + previous * classes  # the features' BatchNorm; the head


def test_resnet18_has_the_parameters_of_a_resnet18(run_of: RunOf) -> None:
    from torchvision.models import resnet18 as original

    network = networks(run_of, "dataset=cifar10", "model=resnet18")
    count = sum(p.numel() for p in network.parameters())
    assert count == resnet18_parameters(3, (64, 128, 256, 512), 10)
    # torchvision's has a 7 x 7 stem, no BatchNorm on the features, and a head of 1000 with a bias
    theirs = sum(p.numel() for p in original().parameters())
    assert count == theirs - (49 - 9) * 3 * 64 + 2 * 512 - (512 * 1000 + 1000) + 512 * 10


def test_resnet18_keeps_the_resolution_in_its_stem_and_normalises_its_features(run_of: RunOf) -> None:
    network = networks(run_of, "dataset=cifar10", "model=resnet18", "model.width=0.0625")
    stem = network.backbone[:3]
    assert stem(images((3, 32, 32))).shape == (4, 4, 32, 32)
    assert network.backbone[:-3](images((3, 32, 32))).shape == (4, 32, 4, 4)
    assert isinstance(network.backbone[-1], nn.BatchNorm1d)
    features, _ = network(images((3, 32, 32), 16))  # in training mode
    assert torch.allclose(features.mean(dim=0), torch.zeros(32), atol=1e-4)


def test_resnet20_has_three_stages_of_three_blocks(run_of: RunOf) -> None:
    """16, 32 and 64 channels; 0.27 million parameters, of which the shortcuts of 1 x 1 are 16 * 32 + 32 * 64 and two
    numbers a channel."""
    network = networks(run_of, "dataset=cifar10", "model=resnet20", "model.feature_norm=false")
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(convolutions) == 19
    assert network(images((3, 32, 32)))[0].shape == (4, 64)
    published = 269_722 - 10  # without option A's padding there is nothing in the shortcuts; the head has no bias here
    shortcuts = 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64
    assert sum(p.numel() for p in network.parameters()) == published + shortcuts


def test_resnet18_counts_at_any_width() -> None:
    widths = (3, 6, 12, 24)
    count = sum(p.numel() for p in resnet(1, 2, widths, feature_norm=True).parameters())
    assert count == resnet18_parameters(1, widths, 0)
    assert sum(p.numel() for p in resnet(1, 2, widths, feature_norm=False).parameters()) == count - 2 * 24


def test_resnet18_never_narrows_to_nothing(run_of: RunOf) -> None:
    assert run_of("model=resnet18", "model.width=1e-3").model.feature_width == 1
