"""The gradient of free features, written out by hand, against autograd on the formula itself."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from ncrun.losses import LOSSES, Loss
from ncrun.losses.loss import Array
from ncrun.models.free_gradient import FreeGradient
from ncrun.models.free_model import FreeFeatures, FreeHead
from ncrun.objective import Objective

# Features' and hidden layers' widths, ReLU, bias. The third is narrower than the four classes.
HEADS = {
    "one layer": ((6,), False, False),
    "one layer, bias": ((6,), False, True),
    "bottleneck": ((6, 2), False, True),
    "three layers": ((6, 5, 7), False, False),
    "ReLU, one layer": ((6,), True, False),
    "ReLU": ((6, 5, 7), True, False),
}
COUNTS = ((4, 3, 1, 1), (2, 2, 3, 2), (1, 5, 1, 2))


DATA_TERMS = {
    "mse": lambda logits, labels: (logits - functional.one_hot(labels, 4)).square().sum() / (2 * len(labels)),
    "ce": functional.cross_entropy,
    "smoothed": lambda logits, labels: functional.cross_entropy(logits, labels, label_smoothing=0.1),
}


class Smoothed(Loss):
    """Cross-entropy on labels that keep nine tenths of their weight: it writes no gradient out."""

    key = "smoothed"
    words = "label-smoothed cross-entropy"

    def data_sum(self, logits: Tensor, labels: Tensor) -> Tensor:
        logs = logits.log_softmax(dim=1)
        return -0.9 * logs.gather(1, labels[:, None]).sum() - 0.1 * logs.mean(dim=1).sum()

    def on_class_means(self, scores: Array) -> Array:
        logs = scores - np.log(np.exp(scores).sum(axis=0))
        return np.asarray(-0.9 * np.diag(logs) - 0.1 * logs.mean(axis=0))


@pytest.fixture(autouse=True)
def own_loss() -> Iterator[None]:
    LOSSES.add(Smoothed())
    yield
    LOSSES.forget_added()


def starts(head: str, same: bool) -> tuple[FreeFeatures, list[Tensor], list[tuple[list[float], Tensor]]]:
    """Three starts; each one's parameters by themselves, and its decays (features first) and labels."""
    widths, relu, bias = HEADS[head]
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(3, *shape, generator=generator, dtype=torch.float64)

    weights = [draw(outputs, inputs) for inputs, outputs in itertools.pairwise([*widths, 4])]
    parameters = [draw(9, 6), *weights, *([draw(4)] if bias else [])]
    head_parameters = FreeHead([w.clone() for w in weights], parameters[-1].clone() if bias else None, relu)
    model = FreeFeatures(parameters[0].clone(), head_parameters, False)
    problems = []
    for r in range(3):
        scale = 1.0 if same else 1.0 + r
        decays = [0.03 * scale, *(0.01 * scale * (m + 1) for m in range(len(weights)))]
        problems.append((decays, torch.repeat_interleave(torch.tensor(COUNTS[0 if same else r]))))
    return model, parameters, problems


def bias_decay(decays: list[float]) -> float:
    """lam_b, of the features' decay."""
    return 5 * decays[0]


def objectives_of(loss: str, problems: list[tuple[list[float], Tensor]]) -> list[Objective]:
    return [
        Objective(LOSSES[loss], "features", tuple(decays[1:]), decays[0], 9, bias_decay(decays))
        for decays, _ in problems
    ]


def objective(
    loss: str, relu: bool, parameters: list[Tensor], depth: int, decays: list[float], labels: Tensor
) -> Tensor:
    """One start's, term by term."""
    points, weights, bias = parameters[0], parameters[1 : depth + 1], parameters[depth + 1 :]
    signal = points
    for m, weight in enumerate(weights):
        signal = signal @ weight.T
        if relu and m < depth - 1:
            signal = signal.relu()
    logits = signal + bias[0] if bias else signal
    data = DATA_TERMS[loss](logits, labels)
    terms = zip(decays, [points, *weights], strict=True)
    data = data + (bias_decay(decays) / 2 * bias[0].square().sum() if bias else 0.0)
    return data + sum(decay / 2 * parameter.square().sum() for decay, parameter in terms)


@pytest.mark.parametrize("same", [True, False], ids=["alike", "decays and labels differ"])
@pytest.mark.parametrize("loss", DATA_TERMS)
@pytest.mark.parametrize("head", HEADS)
def test_gradient_and_value_are_those_of_the_objective(head: str, loss: str, same: bool) -> None:
    """To 1e-13 of the largest entry: rounding of sums. Called twice: memory is used again."""
    model, parameters, problems = starts(head, same)
    depth = len(model.head.weights)
    objectives = objectives_of(loss, problems)
    gradient = FreeGradient(model, objectives, torch.stack([labels for _, labels in problems]))
    gradient()
    gradient()
    for r, (decays, labels) in enumerate(problems):
        own = [parameter[r].clone().requires_grad_() for parameter in parameters]
        value = objective(loss, model.head.relu, own, depth, decays, labels)
        assert float(gradient.values()[r]) == pytest.approx(float(value.detach()), rel=1e-14)
        trained = [model.points, *model.head.weights, *([] if model.head.bias is None else [model.head.bias])]
        for ours, theirs in zip(trained, torch.autograd.grad(value, own), strict=True):
            assert ours.grad is not None
            assert float((ours.grad[r] - theirs).abs().max()) < 1e-13 * float(theirs.abs().max())
            assert float(theirs.abs().max()) > 1e-3


class Forgetful(Loss):
    """A loss that is built in, without its written-out gradient."""

    def __init__(self, of: Loss) -> None:
        self.of, self.key, self.words = of, f"forgetful {of.key}", of.words

    def data_sum(self, logits: Tensor, labels: Tensor) -> Tensor:
        return self.of.data_sum(logits, labels)

    def on_class_means(self, scores: Array) -> Array:
        return self.of.on_class_means(scores)


@pytest.mark.parametrize("key", ["mse", "ce"])
@pytest.mark.parametrize("head", HEADS)
def test_written_out_and_by_autograd_are_the_same(head: str, key: str) -> None:
    """To 1e-13 of the largest entry: sums in another order."""
    LOSSES.add(Forgetful(LOSSES[key]))
    found = []
    for loss in (key, f"forgetful {key}"):
        model, _, problems = starts(head, same=False)
        objectives = objectives_of(loss, problems)
        gradient = FreeGradient(model, objectives, torch.stack([labels for _, labels in problems]))
        gradient()
        found.append([gradient.values(), *(parameter.grad for parameter in model.parameters())])
    for ours, theirs in zip(*found, strict=True):
        assert ours is not None
        assert theirs is not None
        assert float((ours - theirs).abs().max()) < 1e-13 * float(theirs.abs().max())


@pytest.mark.parametrize("loss", DATA_TERMS)
def test_gradient_against_finite_differences(loss: str) -> None:
    """Of all starts at once. 1e-9: the cubic error and rounding of central differences with step 1e-5."""
    model, _, problems = starts("one layer, bias", same=False)
    objectives = objectives_of(loss, problems)
    gradient = FreeGradient(model, objectives, torch.stack([labels for _, labels in problems]))
    gradient()
    trained = [(parameter, parameter.grad.clone().flatten(1)) for parameter in model.parameters()]
    for parameter, slopes in trained:
        entries = parameter.data.flatten(1)
        for i in range(0, entries.shape[1], 5):
            kept, ends = entries[:, i].clone(), []
            for step in (1e-5, -1e-5):
                entries[:, i] = kept + step
                gradient()
                ends.append(gradient.values())
            entries[:, i] = kept
            assert float(((ends[0] - ends[1]) / 2e-5 - slopes[:, i]).abs().max()) < 1e-9
