"""The losses by themselves: on samples, and on class means as theory reads them."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, one_hot

from ncrun.errors import UserError
from ncrun.losses import LOSSES, loss_of, words_of
from ncrun.problem import Problem


def test_the_squared_loss_is_half_the_distance_to_the_one_hot_labels() -> None:
    """1e-14: rounding; the code never builds the one-hot matrix."""
    logits, labels = torch.randn(9, 4, dtype=torch.float64), torch.arange(9) % 4
    expected = (logits - one_hot(labels, 4)).square().sum() / 2
    assert float(LOSSES["mse"].data_sum(logits, labels)) == pytest.approx(float(expected), rel=1e-14)


def test_cross_entropy_is_summed_over_samples() -> None:
    """Equal logits cost log K each, to 1e-14; and large ones do not overflow: the right class costs 0, the wrong
    one 1000.
    """
    loss = LOSSES["ce"]
    zeros = torch.zeros(3, 4, dtype=torch.float64)
    assert float(loss.data_sum(zeros, torch.tensor([0, 1, 2]))) == pytest.approx(3 * np.log(4), rel=1e-14)
    large = torch.tensor([[1000.0, 0.0], [1000.0, 0.0]], dtype=torch.float64)
    assert float(loss.data_sum(large, torch.tensor([0, 1]))) == pytest.approx(1000, rel=1e-14)


def test_cross_entropy_is_that_of_pytorch() -> None:
    """Value and gradient in both precisions, to a few of their rounding errors."""
    for dtype, tolerance in ((torch.float64, 1e-15), (torch.float32, 1e-6)):
        logits = (3 * torch.randn(50, 7, dtype=dtype)).requires_grad_()
        labels = torch.arange(50) % 7
        ours, theirs = LOSSES["ce"].data_sum(logits, labels), cross_entropy(logits, labels, reduction="sum")
        assert float(ours.detach()) == pytest.approx(float(theirs.detach()), rel=10 * tolerance)
        gradients = [torch.autograd.grad(value, logits)[0] for value in (ours, theirs)]
        assert float((gradients[0] - gradients[1]).abs().max()) <= tolerance


@pytest.mark.parametrize("key", ["mse", "ce"])
def test_on_class_means_is_one_sample_of_each_class(key: str) -> None:
    """The same number by numpy and by tensors, large logits included; 1e-13: rounding."""
    scores = np.random.default_rng(0).standard_normal((5, 5)) * np.array([1, 1, 10, 100, 1000])
    found = LOSSES[key].on_class_means(scores)
    for k in range(5):
        sample = torch.from_numpy(scores[None, :, k])
        assert found[k] == pytest.approx(float(LOSSES[key].data_sum(sample, torch.tensor([k]))), rel=1e-13)


def test_a_loss_that_is_not_there_is_refused_with_the_choices() -> None:
    with pytest.raises(UserError, match="loss=mse2: not one of mse, ce; did you mean 'mse'"):
        LOSSES["mse2"]
    assert words_of("mse2") == "mse2"  # a record may name what only its owner has
    assert words_of("ce") == "cross-entropy"


def test_losses_need_no_torch() -> None:
    code = "import sys, ncrun.losses; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("weights", [(), (0.5, 1.0, 3.0)])
@pytest.mark.parametrize("tau", [0.0, 1.5])
def test_options_of_cross_entropy_against_pytorch(smoothing: float, weights: tuple[float, ...], tau: float) -> None:
    """Sample by sample, PyTorch's own smoothed loss of shifted logits times the weight; gradients by autograd. 1e-13:
    rounding of sums of twelve numbers."""
    counts = torch.tensor([7.0, 3.0, 2.0], dtype=torch.float64)
    problem = Problem("ce", (7.0, 3.0, 2.0), (3,), False, (1e-3,), 1e-3, label_smoothing=smoothing)
    loss = loss_of(replace(problem, class_weights=weights, logit_adjustment=tau))
    labels = torch.arange(3).repeat_interleave(counts.long())
    logits = torch.randn(12, 3, dtype=torch.float64, generator=torch.manual_seed(0), requires_grad=True)
    shifted = logits + tau * (counts / 12).log()
    each = cross_entropy(shifted, labels, reduction="none", label_smoothing=smoothing)
    expected = (each * torch.tensor(weights or (1.0,) * 3, dtype=torch.float64)[labels]).sum()
    (slopes,) = torch.autograd.grad(expected, logits)
    assert float(loss.data_sum(logits.detach(), labels)) == pytest.approx(float(expected.detach()), rel=1e-13)
    targets = one_hot(labels, 3).double().mT[None]
    written = loss.gradient(logits.detach().mT[None].clone(), targets, 12)
    assert written is not None
    assert written[0][0].mT.numpy() == pytest.approx(slopes.numpy() / 12, abs=1e-14)
    assert float(loss.value(written[1], targets, 12)) == pytest.approx(float(expected.detach()) / 12, rel=1e-13)
    means = loss.on_class_means(logits.detach()[[0, 8, 11]].mT.numpy())
    by_class = [float(loss.data_sum(logits.detach()[[i]], labels[[i]])) for i in (0, 8, 11)]
    assert means == pytest.approx(by_class, rel=1e-13)
