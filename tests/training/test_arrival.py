"""freeze_norm and finish=lbfgs: what is trained is what is measured, and it ends at the optimum."""

import signal
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, Command, RunOf, at_call, built, rows, state
from faults import weights
from scipy.optimize import rosen, rosen_der
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from ncrun.data import tensors
from ncrun.models.network import Network
from ncrun.objective import Objective
from ncrun.run import Run
from ncrun.theory import predict
from ncrun.training.evaluate import Evaluator
from ncrun.training.finish import FullGradient
from ncrun.training.fixed_norms import fix_norms
from ncrun.training.gradients import NetworkGradient
from ncrun.training.lbfgs import LBFGS

SMALL = ("threads=1", "classes=[0,1,2]", "counts=[12,8,5]", "loss=ce")
NETWORKS = {
    "mlp": ("model=mlp", "model.batch_norm=true", "model.depth=2", "model.width=8"),
    "resnet18": ("model=resnet18", "model.width=0.125", "dataset.size=8"),
    "densenet": ("model=densenet", "model.width=0.17", "dataset.size=8"),
}
TOLERANCE = {"float64": 1e-12, "float32": 1e-6}
CPU = torch.device("cpu")


def a_network(run: Run) -> tuple[Network, Evaluator]:
    """With statistics of BatchNorm that are not the initial ones."""
    dtype = getattr(torch, run.descent.dtype)
    network = built(run).to(dtype)
    assert isinstance(network, Network)
    data = tensors.load(run.data, CPU, dtype)
    network.train()
    with torch.no_grad():
        for _ in range(3):
            network(data.train_images[:9])
    return network, Evaluator(data, Objective.of(run.problem), predict(run.problem))


def statistics(network: Network) -> list[tuple[Tensor, Tensor]]:
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    return [(norm.running_mean.clone(), norm.running_var.clone()) for norm in norms]


def of_one_batch(network: Network, images: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The independent computation: what every BatchNorm of a network in training mode normalises by, where the batch is
    the whole training set."""
    found = {}

    def note(module: torch.nn.Module, inputs: tuple[Tensor]) -> None:
        values = inputs[0].movedim(1, 0).flatten(1)
        found[module] = values.mean(dim=1), values.var(dim=1, unbiased=False)

    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    handles = [norm.register_forward_pre_hook(note) for norm in norms]
    network.train()
    with torch.no_grad():
        network(images)
    for handle in handles:
        handle.remove()
    return [found[norm] for norm in norms]


@pytest.mark.parametrize(("name", "rows_at_once"), [("mlp", 7), ("resnet18", 13), ("resnet18", 25), ("densenet", 25)])
def test_statistics_are_those_of_the_whole_training_set(
    name: str, rows_at_once: int, run_of: RunOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ncrun.training.fixed_norms.forward_rows", lambda images: 1)
    network, evaluator = a_network(run_of(*SMALL, *NETWORKS[name], "dtype=float64"))
    images = evaluator.data.train_images
    before = statistics(network)
    fix_norms(network, images, rows_at_once)
    fixed = statistics(network)
    assert not any(torch.allclose(old, new, rtol=1e-3) for (_, old), (_, new) in zip(before, fixed, strict=True))
    network._keeps_norms = False
    for (mean, variance), (wanted_mean, wanted_variance) in zip(
        fixed, of_one_batch(network, images), strict=True
    ):  # rounding grows through 120 layers
        torch.testing.assert_close(mean, wanted_mean, rtol=1e-9, atol=1e-10)
        torch.testing.assert_close(variance, wanted_variance, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    ("name", "dtype", "mode"),
    [("mlp", "float32", "features"), ("mlp", "float64", "parameters"), ("resnet18", "float64", "features")],
)
def test_what_is_trained_is_what_is_measured(name: str, dtype: str, mode: str, run_of: RunOf) -> None:
    """The loss and the gradient of a step are those of the objective in evaluation mode; not so with a batch's
    statistics, whatever the batch."""
    network, evaluator = a_network(run_of(*SMALL, *NETWORKS[name], f"dtype={dtype}", f"decay.mode={mode}"))
    data, objective = evaluator.data, evaluator.objective
    step = NetworkGradient(network, objective)

    def trained() -> float:
        network.train()
        features, logits = network(data.train_images)
        parameters = network.head.weights, network.head.bias, step.parameters
        return float(objective.on_batch(logits, data.train_labels, features, *parameters).detach())

    assert trained() != pytest.approx(evaluator(network)["loss"], rel=1e-3)
    fix_norms(network, data.train_images, 9)
    measured = evaluator(network)["loss"]
    assert trained() == pytest.approx(measured, rel=TOLERANCE[dtype])
    kept = statistics(network)
    network.train()
    step(data.train_images, data.train_labels)
    pull = torch.cat([each.grad.reshape(-1) for each in step.parameters])
    value, whole = FullGradient(network, objective, step.parameters, 9)(data.train_images, data.train_labels)
    assert value == pytest.approx(measured, rel=TOLERANCE[dtype])
    assert float((pull - whole).norm() / whole.norm()) < 100 * TOLERANCE[dtype]
    assert all(torch.equal(old, new) for old, new in zip(sum(kept, ()), sum(statistics(network), ()), strict=True))


ARRIVING = (*TINY, "batch_size=13", "epochs=5", "model.batch_norm=true", "freeze_norm=0.6", "finish=lbfgs")


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("measurement", [3, 4, 8])  # before the switch, at it, in the finish
def test_run_continues_across_switch_and_finish(
    measurement: int, ncrun: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = [*ARRIVING, "finish_iterations=6"]
    assert ncrun("train", *typed, "run_dir=straight").status == 0
    with monkeypatch.context() as patch:
        at_call(patch, Evaluator, "__call__", measurement, lambda: signal.raise_signal(signal.SIGTERM))
        assert ncrun("train", *typed, "run_dir=run").status == 128 + signal.SIGTERM
    so_far, complete = rows(workdir / "run"), rows(workdir / "straight")
    assert len(so_far) == measurement < len(complete) == 12
    assert so_far == complete[:measurement]
    assert [row["lr"] is None for row in complete] == [False] * 6 + [True] * 6
    torch.manual_seed(99)
    assert ncrun("train", *typed, "run_dir=run").status == 0
    assert state(workdir / "run") == "done"
    assert rows(workdir / "run") == complete
    ours, theirs = weights(workdir / "run"), weights(workdir / "straight")
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def steepness(typed: list[str], directory: Path, run_of: RunOf) -> float:
    """Norm of the full batch's gradient, by a training step's own code, where a run has ended."""
    network, evaluator = a_network(run_of(*typed))
    network.load_state_dict(weights(directory))
    network.eval()
    step = NetworkGradient(network, evaluator.objective)
    step(evaluator.data.train_images, evaluator.data.train_labels)
    return float(torch.cat([each.grad.reshape(-1) for each in step.parameters]).norm())


@pytest.mark.usefixtures("undrawn")
def test_finish_reaches_the_proven_optimum(ncrun: Command, workdir: Path, run_of: RunOf) -> None:
    """From 33 times the optimum, where 20 epochs end, to it."""
    typed = [*SMALL, "loss=mse", "model.depth=1", "model.width=16", "model.batch_norm=true", "dtype=float64"]
    typed += ["decay.weight=2e-2", "decay.feature=2e-2", "epochs=20", "measure=1000", "freeze_norm=1"]
    arriving = [*typed, "finish=lbfgs", "finish_iterations=400"]
    assert ncrun("train", *typed, "run_dir=before").status == 0
    assert ncrun("train", *arriving, "run_dir=after").status == 0
    before, after = rows(workdir / "before")[-1], rows(workdir / "after")[-1]
    assert rows(workdir / "after")[1] == before
    assert before["gap"] > 1
    # A proven bound may be undercut by rounding alone; the rest is what 400 iterations leave.
    assert -1e-12 < after["gap"] < 1e-8
    assert max(after["nc2_w"], after["nc2_h"], after["nc3"]) < 1e-4
    shares = [steepness(typed, workdir / name, run_of) for name in ("after", "before")]
    assert shares[0] < 1e-5 * shares[1]


class Valley:
    """Rosenbrock's function of ten variables."""

    def __init__(self) -> None:
        self.calls = count()

    def __call__(self, point: Tensor) -> tuple[float, Tensor]:
        next(self.calls)
        return float(rosen(point.numpy())), torch.from_numpy(rosen_der(point.numpy()))


def test_lbfgs_descends_a_bent_valley_and_continues_to_the_same_bits() -> None:
    start = torch.from_numpy(np.random.default_rng(0).standard_normal(10))
    straight, stopped = LBFGS(Valley()), LBFGS(Valley())
    straight.begin(start)
    stopped.begin(start)
    values = [straight.value]
    for n in range(200):
        if not straight.step():
            break
        values.append(straight.value)
        if n < 15:
            stopped.step()
    assert straight.value < 1e-20  # the minimum is 0, at (1, .., 1); PyTorch's own strong Wolfe takes as many steps
    assert not straight.step()
    assert max(np.diff(values)) <= 0
    continued = LBFGS(Valley())
    continued.load_state_dict(stopped.state_dict())
    continued.begin(stopped.point)
    while continued.step():
        pass
    assert torch.equal(continued.point, straight.point)
