"""What is known of a model without building it, and models from a user's own file."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import ClassVar

import pytest
import torch
from torch import nn

from ncrun.errors import UserError
from ncrun.models import MODELS, ModelSpec
from ncrun.models.build import build
from ncrun.models.free_features import DUFM, UFM, UFMReLU
from ncrun.models.free_model import FreeFeatures
from ncrun.models.mlp import MLP
from ncrun.models.network import Network
from ncrun.models.own.spec import Module
from ncrun.problem import Problem


@dataclass(frozen=True)
class Fourier(ModelSpec):
    """Random sines of the pixels: a backbone that a user's own file would add."""

    name: str = "fourier"
    frequencies: int = 5

    words: ClassVar[str] = "random sines"

    @property
    def feature_width(self) -> int:
        return self.frequencies

    def backbone(self, image_shape: tuple[int, int, int]) -> nn.Module:
        class Sines(nn.Module):
            def forward(self, signal: torch.Tensor) -> torch.Tensor:
                return signal.sin()

        channels, height, width = image_shape
        linear = nn.Linear(channels * height * width, self.frequencies)
        return nn.Sequential(nn.Flatten(), linear, Sines())


@pytest.fixture
def _forgets() -> Iterator[None]:
    yield
    MODELS.forget_added()


def problem(spec: ModelSpec, counts: tuple[float, ...] = (4, 3), depth: int = 1, **changes: object) -> Problem:
    """What this model poses under a head of so many layers."""
    given = {"loss": "mse", "bias": False, "feature_decay": 1e-3, "feature_sign": spec.feature_sign, **changes}
    return Problem(counts=counts, widths=(spec.feature_width,) * depth, weight_decays=(1e-3,) * depth, **given)


def test_models_and_data_are_known_without_torch() -> None:
    code = (
        "import sys\nfor name in ('torch', 'torchvision', 'PIL', 'sklearn'): sys.modules[name] = None\n"
        "from ncrun.models import MODELS\nfrom ncrun.data import SOURCES\n"
        "from ncrun.data.folder import data_folder\nfrom ncrun.data.request import DataRequest\n"
        "print(sum(spec.feature_width for spec in MODELS if spec.name != 'module'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    # mlp and deep_linear 512; resnet18, vgg11 and vgg16 512; resnet20 64; densenet 384; three of free features 64
    assert (done.stdout.strip(), done.stderr) == (str(5 * 512 + 64 + 384 + 3 * 64), "")


@pytest.mark.parametrize("spec", list(MODELS), ids=lambda spec: spec.key)
def test_every_model_says_what_its_keys_are(spec: ModelSpec) -> None:
    """The docstring is what `ncrun help` shows; a dataclass without one gets a signature in its place."""
    assert fields(spec)[0].name == "name"
    assert not (spec.__doc__ or "").startswith(f"{type(spec).__name__}(")
    if isinstance(spec, Module):
        spec = replace(spec, path="torchvision:resnet18")  # without one it is no network yet
    spec.check()


@pytest.mark.usefixtures("_forgets")
def test_a_backbone_of_ones_own() -> None:
    """One file: its spec, added to the registry, is all that the head and the problem need."""
    MODELS.add(Fourier())
    spec = MODELS["fourier"]
    assert (spec.feature_sign, spec.attains_optimum, spec.has_batch_norm) == ("free", True, False)
    network = build(spec, problem(spec, (4, 4, 4), depth=2), (1, 3, 2), [5])
    assert isinstance(network, Network)
    features, logits = network(torch.randn(7, 1, 3, 2))
    assert (features.shape, logits.shape) == ((7, 5), (7, 3))
    assert float(features.detach().abs().max()) <= 1
    with pytest.raises(UserError, match="model=fourier: exists already"):
        MODELS.add(Fourier())


def test_a_seed_decides_the_initial_weights() -> None:
    """Of a network, whatever torch has drawn before."""
    spec = MLP(depth=1, width=6)
    torch.manual_seed(99)
    first, second, other = (build(spec, problem(spec), (1, 2, 2), [seed]).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["backbone.linear1.weight"], other["backbone.linear1.weight"])


@pytest.mark.parametrize("spec", [UFM(width=5), UFMReLU(width=5), DUFM(width=5)], ids=lambda spec: spec.key)
def test_free_features_of_several_seeds_lie_side_by_side(spec: ModelSpec) -> None:
    depth = spec.default_depth
    posed = problem(spec, depth=depth, head="relu" if spec.relu_head else "linear", bias=not spec.relu_head)
    several = build(spec, posed, None, [7, 8, 9])
    assert isinstance(several, FreeFeatures)
    assert several.points.shape == (3, 7, 5)
    assert several.nonnegative == (spec.key == "ufm_relu") == (float(several.points.detach().min()) >= 0)
    for index, seed in enumerate((7, 8, 9)):
        alone = build(spec, posed, None, [seed]).state_dict()
        member = several.of_run(index).state_dict()
        assert alone.keys() == member.keys()
        assert all(torch.equal(alone[key], member[key]) for key in alone)


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        (MLP(features="tanh"), "model.features=tanh: not one of linear, relu"),
        (
            MLP(batch_norm=True, features="relu"),
            "model.features=relu: has no effect with model.batch_norm=true, which ends in a BatchNorm",
        ),
    ],
)
def test_values_that_make_no_network(spec: ModelSpec, line: str) -> None:
    with pytest.raises(UserError) as told:
        spec.check()
    assert str(told.value) == line


@pytest.mark.parametrize(
    ("spec", "depth", "relu", "line"),
    [
        (UFMReLU(), 2, False, "head.depth=2: model=ufm_relu has one linear layer; use model=ufm for more"),
        (UFM(), 2, True, "head.relu=True: model=dufm has ReLUs between its layers, model=ufm has none"),
        (DUFM(), 3, False, "head.relu=False: model=dufm has ReLUs between its layers, model=ufm has none"),
    ],
)
def test_heads_that_do_not_go_with_free_features(spec: ModelSpec, depth: int, relu: bool, line: str) -> None:
    spec.check_head(spec.default_depth, spec.relu_head)
    with pytest.raises(UserError) as told:
        spec.check_head(depth, relu)
    assert str(told.value) == line
