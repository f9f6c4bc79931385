"""The gradient of free features, written out by hand, against autograd on the formula itself."""

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn import functional

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
    if loss == "ce":
        data = functional.cross_entropy(logits, labels)
    else:
        data = (logits - functional.one_hot(labels, 4)).square().sum() / (2 * len(labels))
    terms = zip(decays, [points, *weights], strict=True)
    return data + sum(decay / 2 * parameter.square().sum() for decay, parameter in terms)


@pytest.mark.parametrize("same", [True, False], ids=["alike", "decays and labels differ"])
@pytest.mark.parametrize("loss", ["mse", "ce"])
@pytest.mark.parametrize("head", HEADS)
def test_gradient_and_value_are_those_of_the_objective(head: str, loss: str, same: bool) -> None:
    """To 1e-13 of the largest entry: rounding of sums. Called twice: memory is used again."""
    model, parameters, problems = starts(head, same)
    depth = len(model.head.weights)
    objectives = [Objective(loss, "features", tuple(decays[1:]), decays[0], 9) for decays, _ in problems]
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
