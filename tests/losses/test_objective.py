"""The one objective: what a step descends on a batch, and the loss that is reported, against plain evaluations of
the formula.
"""

import itertools

import numpy as np
import pytest
import torch
from conftest import RunOf, built
from reference_metrics import reference_loss
from torch import Tensor

from ncrun.data.tensors import RunData
from ncrun.objective import Objective
from ncrun.theory import Problem, predict
from ncrun.training.evaluate import Evaluator

COUNTS = (3, 2, 1)
DECAYS, FEATURE_DECAY, BIAS_DECAY = (0.03, 0.07), 0.011, 0.05


class Instance:
    """Six samples in three classes, features in five dimensions, a head of two layers with a bias, all in float64."""

    def __init__(self, loss: str, mode: str = "features") -> None:
        generator = torch.Generator().manual_seed(0)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        self.labels = torch.tensor([0, 0, 0, 1, 1, 2])
        self.features, self.weights, self.bias = draw(6, 5), [draw(4, 5), draw(3, 4)], draw(3)
        decays = DECAYS if mode == "features" else (0.03, 0.03)
        feature_decay = FEATURE_DECAY if mode == "features" else None
        bias_decay = BIAS_DECAY if mode == "features" else 0.0
        widths, counts = (5, 4), (3.0, 2.0, 1.0)
        self.problem = Problem(loss, counts, widths, True, decays, feature_decay, mode, bias_decay=bias_decay)
        self.objective = Objective.of(self.problem)

    def on_batch(self, rows: list[int]) -> Tensor:
        features, (first, last) = self.features[rows], self.weights
        logits = features @ first.T @ last.T + self.bias
        parameters = [first, last, self.bias]
        return self.objective.on_batch(logits, self.labels[rows], features, self.weights, self.bias, parameters)

    def reference(self) -> float:
        weights = [weight.detach().numpy() for weight in self.weights]
        features, labels = self.features.detach().numpy(), self.labels.numpy()
        return reference_loss(self.problem, weights, self.bias.detach().numpy(), features, labels)


@pytest.mark.parametrize("loss", ["mse", "ce"])
def test_the_full_batch_is_the_objective(loss: str) -> None:
    """1e-14: a handful of float64 operations."""
    instance = Instance(loss)
    assert float(instance.on_batch(list(range(6)))) == pytest.approx(instance.reference(), rel=1e-14)


@pytest.mark.parametrize("loss", ["mse", "ce"])
@pytest.mark.parametrize("size", [1, 2, 4, 5])
def test_the_mean_over_all_batches_is_the_objective(loss: str, size: int) -> None:
    """For every batch size; 1e-13: a mean of at most 15 numbers. The batches themselves differ by far more."""
    instance = Instance(loss)
    values = [float(instance.on_batch(list(rows))) for rows in itertools.combinations(range(6), size)]
    assert np.mean(values) == pytest.approx(instance.reference(), rel=1e-13)
    assert np.std(values) > 0.01 * np.mean(values)


@pytest.mark.parametrize("loss", ["mse", "ce"])
def test_an_epoch_with_a_partial_batch_adds_up_to_the_objective(loss: str) -> None:
    """Batches of 4 and 2, each weighted by its share of the samples, in any order of the samples; 1e-13: rounding."""
    instance = Instance(loss)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(6).tolist()
        total = float(instance.on_batch(order[:4])) * 4 / 6 + float(instance.on_batch(order[4:])) * 2 / 6
        assert total == pytest.approx(instance.reference(), rel=1e-13)


@pytest.mark.parametrize("loss", ["mse", "ce"])
def test_the_gradient_is_that_of_the_objective(loss: str) -> None:
    """Against central differences of the reference with step 1e-5, which are good to 3e-9 (their own cubic error
    and rounding).
    """
    instance = Instance(loss)
    trained = [*instance.weights, instance.features, instance.bias]
    for tensor in trained:
        tensor.requires_grad_()
    gradients = torch.autograd.grad(instance.on_batch(list(range(6))), trained)
    for tensor, gradient in zip(trained, gradients, strict=True):
        flat = tensor.detach().view(-1)
        for i in range(len(flat)):
            kept, ends = float(flat[i]), []
            for step in (1e-5, -1e-5):
                flat[i] = kept + step
                ends.append(instance.reference())
            flat[i] = kept
            assert float(gradient.reshape(-1)[i]) == pytest.approx((ends[0] - ends[1]) / 2e-5, abs=3e-9)


@pytest.mark.parametrize("loss", ["mse", "ce"])
def test_plain_weight_decay_counts_every_parameter_and_no_feature(loss: str) -> None:
    """lam/2 times the squares of all parameters, the bias included, on every batch; 1e-14: rounding."""
    instance = Instance(loss, "parameters")
    rows = [0, 3, 5]
    logits = instance.features[rows] @ instance.weights[0].T @ instance.weights[1].T + instance.bias
    data = float(instance.objective.data_sum(logits, instance.labels[rows])) / 3
    squares = sum(float((p**2).sum()) for p in (*instance.weights, instance.bias))
    assert float(instance.on_batch(rows)) == pytest.approx(data + 0.03 / 2 * squares, rel=1e-14)


@pytest.mark.parametrize("loss", ["mse", "ce"])
@pytest.mark.parametrize("mode", ["features", "parameters"])
@pytest.mark.parametrize(("dtype", "precision"), [("float64", 1e-12), ("float32", 1e-5)])
def test_the_reported_loss_is_the_objective(loss: str, mode: str, dtype: str, precision: float, run_of: RunOf) -> None:
    """Of a small network with BatchNorm, on all training samples in evaluation mode. float32 features are good to
    1e-6, and the reference's forward may add up in another order.
    """
    decay = ["decay.weight=[0.03,0.07]", "decay.feature=0.011"] if mode == "features" else ["decay.weight=0.03"]
    run = run_of(
        *("model.depth=2", "model.width=7", "model.batch_norm=true", "head.depth=2", "head.width=5", "head.bias=true"),
        *("counts=[5,4,3,3,2,2,1,1,1,1]", f"loss={loss}", f"dtype={dtype}", f"decay.mode={mode}", *decay),
    )
    torch.manual_seed(0)
    precise = getattr(torch, dtype)
    network = built(run).to(precise)
    labels = torch.repeat_interleave(torch.arange(10), torch.tensor(list(run.data.counts)))
    images, test_images = torch.randn(23, 1, 8, 8, dtype=precise), torch.randn(10, 1, 8, 8, dtype=precise)
    network.train()
    network(3 * images + 1)  # running statistics away from their start, so that evaluation mode matters
    with torch.no_grad():
        network.head.layers[-1].bias += 0.3
    objective = Objective.of(run.problem)
    row = Evaluator(RunData(images, labels, test_images, torch.arange(10), ""), objective, predict(run.problem))(
        network
    )

    network.eval()
    with torch.no_grad():
        features = network.backbone(images).double().numpy()
    weights = [layer.weight.detach().double().numpy() for layer in network.head.layers]
    bias = network.head.layers[-1].bias.detach().double().numpy()
    undecayed = Problem(loss, run.problem.counts, (7, 5), True, (0.0, 0.0), 0.0)
    data = reference_loss(undecayed, weights, bias, features, labels.numpy())
    if mode == "features":
        decays = (
            0.03 / 2 * (weights[0] ** 2).sum() + 0.07 / 2 * (weights[1] ** 2).sum() + 0.011 / 2 * (features**2).sum()
        )
    else:
        decays = sum(0.03 / 2 * float(p.detach().double().square().sum()) for p in network.parameters())
    assert row["data_term"] == pytest.approx(data, rel=precision)
    assert row["loss"] == pytest.approx(data + decays, rel=precision)
    assert decays > 0.01 * data
