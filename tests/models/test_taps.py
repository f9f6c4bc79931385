"""Tapped layers of a backbone: which tensors are seen, and what is measured on them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, Command, Refused, RunOf, built, rows
from reference_metrics import between, class_distance_variance, class_means, numerical_rank, to_etf, within
from torch import nn

from ncrun.models.network import Network
from ncrun.models.taps import layer_names, reader_of, tapped


def network_of(run_of: RunOf, *overrides: str) -> tuple[Network, torch.Tensor]:
    run = run_of(*overrides)
    network = built(run)
    assert isinstance(network, Network)
    network.eval()
    return network, torch.randn(5, *run.data.image_shape)


def test_before_and_after_a_relu(run_of: RunOf) -> None:
    """Against the layers applied one by one; equal to the bit, as they are the same operations."""
    network, images = network_of(run_of, "model.width=6", "model.depth=3")
    linear1, linear2 = network.backbone.get_submodule("linear1"), network.backbone.get_submodule("linear2")
    before = linear2(linear1(images.flatten(1)).relu())
    features, seen = tapped(network.backbone, images, ["linear2", "relu2"])
    assert torch.equal(seen["linear2"], before)
    assert torch.equal(seen["relu2"], before.relu())
    assert bool((before < 0).any())
    assert torch.equal(features, network.features(images))
    assert not any(module._forward_hooks for module in network.modules())


def test_convolutional_layers_are_averaged_and_kept_from_relus_in_place(run_of: RunOf) -> None:
    """torchvision's ReLUs overwrite their input; of the one that a residual block uses twice, the block's end counts.

    1e-6: float32 sums of 16 numbers in another order.
    """
    network, images = network_of(run_of, "model=resnet20", "model.width=0.25", "dataset.size=8")
    names = ["stage1.0.bn1", "stage1.0.relu", "stage1.0"]
    _, seen = tapped(network.backbone, images, names)
    stem = network.backbone[:3](images)
    block = network.backbone.get_submodule("stage1.0")
    before = block.bn1(block.conv1(stem))  # type: ignore[operator, union-attr]
    assert torch.allclose(seen["stage1.0.bn1"], before.mean(dim=(2, 3)), atol=1e-6)
    assert torch.allclose(seen["stage1.0"], block(stem).mean(dim=(2, 3)), atol=1e-6)
    assert torch.equal(seen["stage1.0.relu"], seen["stage1.0"])


@pytest.mark.parametrize(
    ("model", "some"),
    [
        ("mlp model.batch_norm=true", {"linear1", "relu6", "norm6", "norm"}),
        ("mlp model.features=relu", {"linear7", "relu7"}),
        ("deep_linear model.depth=2", {"linear1", "linear2"}),
        ("resnet18 model.width=0.05", {"conv", "stage4.1", "feature_norm"}),
        ("vgg11 model.width=0.05 dataset.size=32", {"conv8", "norm8", "relu8", "pool5"}),
        ("densenet model.width=0.1", {"block1.denselayer6.relu1", "transition3", "block4"}),
    ],
)
def test_every_layer_that_is_named_can_be_seen(model: str, some: set[str], run_of: RunOf) -> None:
    network, images = network_of(run_of, *f"model={model}".split())
    names = layer_names(network.backbone)
    assert some <= set(names)
    assert "flatten" not in names
    _, seen = tapped(network.backbone, images, names)
    assert set(seen) == set(names)
    assert all(tensor.shape[0] == 5 and tensor.dim() == 2 for tensor in seen.values())


def test_what_reads_a_layer(run_of: RunOf) -> None:
    """The weights right behind it, and nothing where a ReLU or a pooling comes between."""
    network, _ = network_of(run_of, "model.width=6", "model.depth=2")
    top = network.head.weights[0]
    linear2 = network.backbone.get_submodule("linear2")
    assert isinstance(linear2, nn.Linear)
    assert reader_of(network.backbone, "relu1", top) is linear2.weight
    assert reader_of(network.backbone, "linear1", top) is None
    assert reader_of(network.backbone, "linear3", top) is top


@pytest.mark.usefixtures("undrawn")
def test_a_run_measures_its_taps(ncrun: Command, workdir: Path, run_of: RunOf) -> None:
    """Every tap.* of the last row against explicit scatter matrices of the layer's output, in float64. 1e-5: the layer
    is computed anew, in float32.
    """
    overrides = (*TINY, "seed=3", "dtype=float32", "taps=[linear1,relu1,linear2]")
    assert ncrun("train", *overrides, "run_dir=run").status == 0
    last = rows(workdir / "run")[-1]
    run = run_of(*overrides)
    network = built(run)
    network.load_state_dict(torch.load(workdir / "run" / "checkpoint.pt", weights_only=True)["network"])
    from ncrun.data.tensors import load

    data = load(run.data, torch.device("cpu"), torch.float32)
    assert isinstance(network, Network)
    network.eval()
    points, labels = data.train_images.flatten(1), data.train_labels.numpy()
    for name in run.taps:
        layer = network.backbone.get_submodule(name)
        points = layer(points).detach()
        x = points.double().numpy()
        means, overall = class_means(x, labels, 10)
        sigma_b, inverse, rank = between(means, overall, float(np.finfo(np.float32).eps))
        sigma_w, _ = within(x, labels, means)
        expected = {
            "nc1": np.trace(sigma_w @ inverse) / 10,
            "nc1_rank": rank,
            "nc1_trace": np.trace(sigma_w) / np.trace(sigma_b),
            "cdnv": class_distance_variance(x, labels, means, 1e-7),
            "etf_h": to_etf(means @ means.T),
            "rank": numerical_rank(means),
            "dnc2": None,  # ten means in eight dimensions
        }
        for key, value in expected.items():
            found = last[f"tap.{name}.{key}"]
            assert found == (value if value is None else pytest.approx(value, rel=1e-5)), (name, key)
        assert (last[f"tap.{name}.dnc3"] is None) == (name == "linear1")
    # The last layer's output is what the head reads.
    assert last["tap.linear2.nc1"] == pytest.approx(last["nc1"], rel=1e-12)
    singular = json.loads((workdir / "run" / "geometry.json").read_text())["singular_values"]
    assert set(singular) == {"tap.linear1", "tap.relu1", "tap.linear2", "head.1"}
    assert singular["head.1"] == pytest.approx(list(np.linalg.svd(means, compute_uv=False)), rel=1e-5)


def test_refusals(refused: Refused) -> None:
    line = refused("train", "taps=[relu9]", "model.depth=2")
    assert line == "taps: mlp has no layer relu9; it has linear1, relu1, linear2, relu2, linear3; did you mean 'relu2'?"
    assert "such as" in refused("train", "model=densenet", "taps=[blok1]")
    assert "no layer relu9" in refused("train", "-m", "seed=0,1", "taps=[relu9]", "model.depth=2")
    assert (
        refused("train", "model=ufm", "counts=[3,3]", "taps=[relu1]")
        == "taps: has no effect: model=ufm has no backbone"
    )
    assert refused("train", "taps=relu1").startswith("taps")
