"""The gradient of a step: that of the whole objective by autograd, although its decay terms are added by hand."""

import pytest
import torch
from conftest import TINY, RunOf, built

from ncrun.models.network import Network
from ncrun.objective import Objective
from ncrun.training.gradients import NetworkGradient

MODES = {
    "features": ["decay.weight=[3e-2,7e-2]", "decay.feature=1e-2", "decay.bias=5e-2", "head.bias=true"],
    "parameters": ["decay.mode=parameters", "decay.weight=3e-2"],
}


@pytest.mark.parametrize("is_frozen", [False, True], ids=["trained head", "frozen head"])
@pytest.mark.parametrize("mode", MODES)
def test_a_step_has_the_gradient_of_the_objective(mode: str, is_frozen: bool, run_of: RunOf) -> None:
    """Of a batch that is a part of the samples, with a parameter that the forward pass does not use. 1e-12 of the
    largest entry: rounding in float64."""
    run = run_of(*TINY, "head.depth=2", *MODES[mode])
    network, objective = built(run), Objective.of(run.problem)
    assert isinstance(network, Network)
    network.double()
    network.backbone.register_parameter("unused", torch.nn.Parameter(torch.ones(3, dtype=torch.float64)))
    network.head.requires_grad_(not is_frozen)
    images, labels = torch.randn(30, 1, 8, 8, dtype=torch.float64), torch.arange(30) % 10
    parameters = list(network.parameters())
    trained = [each for each in parameters if each.requires_grad]

    features, logits = network(images)
    loss = objective.on_batch(logits, labels, features, network.head.weights, network.head.bias, parameters)
    expected = torch.autograd.grad(loss, trained, materialize_grads=True, allow_unused=True)

    step = NetworkGradient(network, objective)
    step(images, labels)
    largest = max(float(each.abs().max()) for each in expected)
    for parameter, wanted in zip(trained, expected, strict=True):
        found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12 * largest)
    assert all(each.grad is None for each in network.head.parameters()) == is_frozen
