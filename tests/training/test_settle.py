"""Settling free features: how far from rest a point is, that saddles are left, and the models that settle."""

import itertools

import numpy as np
import pytest
import torch
from conftest import RunOf, built
from free_features import Array, Instance

from ncrun.models.free_model import FreeFeatures, FreeHead, stacked
from ncrun.objective import Objective
from ncrun.run import LBFGS, Run
from ncrun.theory import predict
from ncrun.training.evaluate import stationarity
from ncrun.training.settle import _descend


def labels_of(run: Run) -> torch.Tensor:
    return torch.repeat_interleave(torch.tensor(list(run.data.counts)))


def at_rest(model: FreeFeatures, run: Run) -> float | None:
    return stationarity(model, Objective.of(run.problem), labels_of(run))


def settled(model: FreeFeatures, run: Run, kicks: int = 3) -> FreeFeatures:
    """Descends in place."""
    rng = np.random.default_rng(0)
    _descend(model, Objective.of(run.problem), labels_of(run), LBFGS(kicks=kicks), 10_000, rng, lambda: None)
    return model


def value(model: FreeFeatures, run: Run) -> float:
    return reference(model, run)[0]


def reference(model: FreeFeatures, run: Run) -> tuple[float, list[Array], Array]:
    """The objective and its gradients at the model, from the reference; columns of H are samples."""
    factors = [model.points[0].detach().numpy().T, *(weight[0].detach().numpy() for weight in model.head.weights)]
    bias = np.zeros(run.problem.num_classes) if model.head.bias is None else model.head.bias[0].detach().numpy()
    return Instance.by_sample(run.problem).value_and_gradient(factors, bias)


# ---------------------------------------------------------------- stationarity

KINDS = [
    "ufm loss=mse head.depth=2 decay.weight=[0.02,0.05]",
    "ufm loss=mse head.bias=true",
    "ufm loss=ce head.bias=true head.depth=3",
    "ufm_relu",
    "ufm_relu loss=mse",
    "dufm head.depth=3",
]


def configured(run_of: RunOf, kind: str, *more: str) -> Run:
    decay = [] if "decay.weight" in kind else ["decay.weight=0.02"]
    base = ["counts=[4,2,1]", "model.width=5", "decay.feature=0.01", "model.feature_std=0.7", "model.weight_std=0.7"]
    return run_of(f"model={kind.split()[0]}", *base, *decay, *kind.split()[1:], *more)


@pytest.mark.parametrize("kind", KINDS)
def test_stationarity_is_the_squared_gradient_in_units_of_the_decays(kind: str, run_of: RunOf) -> None:
    """sum over factors ||gradient||^2 / (2 decay), the bias counting as if its decay were 1; 1e-12: rounding."""
    run = configured(run_of, kind)
    model = built(run)
    _, gradients, bias_gradient = reference(model, run)
    decays = [run.problem.feature_decay, *run.problem.weight_decays]
    total = sum(float((g**2).sum()) / (2 * decay) for g, decay in zip(gradients, decays, strict=True))
    total += float((bias_gradient**2).sum()) / 2
    assert at_rest(model, run) == pytest.approx(total, rel=1e-12)
    assert at_rest(model.float(), run) == pytest.approx(total, rel=1e-4)  # of parameters that were rounded to float32


def test_stationarity_against_finite_differences(run_of: RunOf) -> None:
    """Central differences of the objective itself along every entry, steps of 1e-5: good to 1e-8."""
    run = configured(run_of, "ufm loss=ce head.depth=2")
    model, total = built(run), 0.0
    for tensor, decay in [(model.points, 0.01), *((weight, 0.02) for weight in model.head.weights)]:
        flat = tensor.data.view(-1)
        for i in range(len(flat)):
            kept, ends = float(flat[i]), []
            for step in (1e-5, -1e-5):
                flat[i] = kept + step
                ends.append(value(model, run))
            flat[i] = kept
            total += ((ends[0] - ends[1]) / 2e-5) ** 2 / (2 * decay)
    assert at_rest(model, run) == pytest.approx(total, rel=1e-7)


def closed_form(K: int, count: int, weight_decay: float, feature_decay: float) -> FreeFeatures:
    """The optimum of one layer, squared loss, balanced: logits (1 - N sqrt(lam_W lam_H / n)) e_k, shared evenly."""
    kept = 1 - K * count * (weight_decay * feature_decay / count) ** 0.5
    w = (kept * (count * feature_decay / weight_decay) ** 0.5) ** 0.5
    points = torch.eye(K, K + 2, dtype=torch.float64).repeat_interleave(count, dim=0) * kept / w
    head = FreeHead([w * torch.eye(K, K + 2, dtype=torch.float64)[None]], None, False)
    return FreeFeatures(points[None], head, True)


@pytest.mark.parametrize(("K", "count"), [(2, 1), (3, 4), (6, 10)])
def test_stationarity_vanishes_at_an_optimum(K: int, count: int, run_of: RunOf) -> None:
    """Up to 1e-26: each entry of the gradient, in those units, is a difference that rounds at 1e-14 or better."""
    counts = str([count] * K).replace(" ", "")
    run = run_of("model=ufm_relu", "loss=mse", f"counts={counts}", f"model.width={K + 2}", "decay.feature=2e-3")
    model = closed_form(K, count, 5e-4, 2e-3)
    assert at_rest(model, run) < 1e-26
    model.points.data += 1e-3
    assert at_rest(model, run) > 1e-9


def test_entries_that_their_bound_keeps_do_not_count(run_of: RunOf) -> None:
    """One sample a class, W = [[1, 0], [0, 1]] and h = 0: squared loss pulls h_1 along e_1 only. Of a wrong-way W,
    every pull is against the bound.
    """
    run = run_of("model=ufm_relu", "loss=mse", "counts=[1,1]", "model.width=2", "decay.weight=1", "decay.feature=1")
    points = torch.zeros(1, 2, 2, dtype=torch.float64)
    for sign, expected in ((1.0, 2 * 0.5**2 / 2), (-1.0, 0.0)):
        head = FreeHead([sign * torch.eye(2, dtype=torch.float64)[None]], None, False)
        # the pull on each own entry is 1/N = 1/2; W itself is pulled by its decay alone: ||W||^2/2 = 1
        assert at_rest(FreeFeatures(points, head, True), run) == pytest.approx(1 + expected, rel=1e-15)
        assert at_rest(FreeFeatures(points, head, False), run) == pytest.approx(1 + 0.25, rel=1e-15)
    # away from the bound the same pull counts
    head = FreeHead([-torch.eye(2, dtype=torch.float64)[None]], None, False)
    inside = FreeFeatures(points + 1e-9, head, True)
    assert at_rest(inside, run) == pytest.approx(1.25, rel=1e-6)


def test_stationarity_without_decay_is_unknown(run_of: RunOf) -> None:
    run = run_of("model=ufm", "counts=[2,1]", "model.width=3", "decay.weight=0", "decay.feature=0")
    assert at_rest(built(run), run) is None


# ---------------------------------------------------------------- the descent


@pytest.mark.parametrize("kind", ["ufm loss=mse head.depth=2", "ufm_relu", "dufm", "ufm loss=ce head.bias=true"])
def test_descent_ends_at_rest(kind: str, run_of: RunOf) -> None:
    """On a tolerance of 1e-9 for each of some 50 entries, half a sum of squares is at most 50e-18."""
    run = configured(run_of, kind)
    model = built(run)
    before = value(model, run)
    assert at_rest(model, run) > 1e-3
    assert at_rest(settled(model, run), run) < 1e-15
    assert value(model, run) < before


def test_kicks_leave_a_saddle(run_of: RunOf) -> None:
    """Features and classifier at zero are at rest in one layer. Without kicks the run stays there; with them it ends
    at the optimum, 1e-9 being what the gradient's tolerance leaves.
    """
    run = run_of("model=ufm", "counts=[4,2]", "model.width=3", "decay.weight=1e-2", "decay.feature=1e-2")
    model = built(run)
    for parameter in model.parameters():
        parameter.data.zero_()
    assert value(settled(model, run, kicks=0), run) == pytest.approx(0.5, rel=1e-15)
    assert value(settled(model, run), run) == pytest.approx(predict(run.problem).objective, rel=1e-9)


def test_kicks_free_a_class_that_found_no_dimension(run_of: RunOf) -> None:
    """Features of ufm_relu: the first class holds every dimension, the second none. At rest, but not the optimum."""
    run = run_of("model=ufm_relu", "counts=[6,6]", "model.width=4", "decay.weight=1e-2", "decay.feature=1e-2")
    model = built(run)
    model.points.data[0, 6:] = 0
    model.head.weights[0].data[0, 0] = 1.0
    model.head.weights[0].data[0, 1] = -1.0
    model.points.data[0, :6] = 1.0
    optimum = predict(run.problem).objective
    stuck = value(settled(model, run, kicks=0), run)
    assert stuck > 1.05 * optimum
    assert value(settled(model, run), run) == pytest.approx(optimum, rel=1e-9)
    assert float(model.points.detach().min()) >= 0


# ---------------------------------------------------------------- the model


@pytest.mark.parametrize("kind", ["ufm head.depth=3 head.width=4 head.bias=true", "ufm_relu", "dufm head.depth=2"])
def test_shapes_and_first_values(kind: str, run_of: RunOf) -> None:
    run = configured(run_of, kind, "model.width=300", "counts=[40,20,10]")
    model = built(run)
    sizes = [*run.problem.widths, 3]
    assert model.points.shape == (1, 70, 300)
    assert [tuple(w.shape) for w in model.head.weights] == [(1, b, a) for a, b in itertools.pairwise(sizes)]
    assert (model.head.bias is None) == ("head.bias" not in kind)
    # 21,000 draws: the mean square has a standard error of 1 %
    assert float(model.points.detach().square().mean()) == pytest.approx(0.49, rel=0.05)
    assert (float(model.points.detach().min()) >= 0) == model.nonnegative == (run.model.name == "ufm_relu")


def test_weights_without_a_std_are_pytorchs_default(run_of: RunOf) -> None:
    """Uniform up to 1/sqrt(inputs): never beyond, nearly up to it among 4096 draws, and their mean square, known to
    1.4 %, that of this distribution.
    """
    run = run_of("model=dufm", "counts=[3,3]", "head.depth=2")
    first = built(run).head.weights[0].detach()
    assert float(first.abs().max()) == pytest.approx(1 / 8, rel=0.01)
    assert float(first.abs().max()) <= 1 / 8
    assert float(first.square().mean()) == pytest.approx(1 / 64 / 3, rel=0.05)


def test_starts_are_those_of_their_seeds(run_of: RunOf) -> None:
    base = ["model=ufm", "counts=[3,2]", "model.width=4", "head.depth=2", "head.bias=true", "optimizer=sgd"]
    group = stacked([built(run_of(*base, f"seed={seed}")) for seed in (7, 8, 9)])
    assert group.num_runs == 3
    for k in range(3):
        single, member = built(run_of(*base, f"seed={7 + k}")), group.of_run(k)
        for ours, theirs in zip(member.state_dict().values(), single.state_dict().values(), strict=True):
            assert torch.equal(ours, theirs)
    group.of_run(1).points.data.fill_(3)  # a view on the same memory
    assert torch.equal(group.points[1], torch.full((5, 4), 3.0, dtype=torch.float64))
    assert not (group.points[0] == 3).any()
