"""The objective of free features and its explicit gradient, for R runs in one program.

A step of gradient descent on free features is a few products of small matrices; autograd's overhead would cost more
than these. Three things make them cheap:
- the product W_M..W_1 of a linear head is formed first: K x d x d per layer instead of N x d x d, forward and backward;
- signals have shape (R, width, N), samples last: products with K rows and N columns take half as long as tall thin
ones;
- gradients are written into the same memory at every step, which a CUDA graph needs, too.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from ncrun.losses import Loss
from ncrun.models.free_model import FreeFeatures
from ncrun.objective import Objective


class FreeGradient:
    """A call sets .grad of a model's parameters to the gradient of the objective; values(): the objective at that
    point.

    objectives: one for all runs, or one for each; they share loss and N. labels: (N,) for all runs, or (R, N); or
    targets, (N, q) or (R, N, q).
    """

    def __init__(self, model: FreeFeatures, objectives: Sequence[Objective], labels: Tensor) -> None:
        first = objectives[0]
        assert all((each.loss, each.num_samples) == (first.loss, first.num_samples) for each in objectives)
        # Read once: PyTorch's search for a module's parameters would take a tenth of a small step.
        self.points, self.weights, self.bias = model.points, list(model.head.weights), model.head.bias
        self.relu = model.head.relu
        self.loss, self.N = first.loss, first.num_samples
        K = self.weights[-1].shape[1]
        if not labels.is_floating_point():
            labels = functional.one_hot(labels, K)
        self.targets = labels.expand(model.num_runs, self.N, K).mT.to(self.points.dtype).contiguous()
        # lam_H, lam_W_1 .. lam_W_M, and lam_b if the bias decays
        self.decays = [self._of_runs(decays) for decays in zip(*map(_decays, objectives), strict=True)]
        self.decayed = [self.points, *self.weights]
        if self.bias is not None and any(each.bias_decay for each in objectives):
            bias_decay = self._of_runs([each.bias_decay for each in objectives])
            self.decays.append(bias_decay[:, :, 0] if isinstance(bias_decay, Tensor) else bias_decay)
            self.decayed.append(self.bias)
        for parameter in model.parameters():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        # With allocation at every step, signals of a megabyte or more would take twice as long, because of page faults.
        hidden = self.weights[:-1] if self.relu else []
        self._signals = [self.points.new_empty(*weight.shape[:2], self.N) for weight in hidden]
        self._backs = [torch.empty_like(signal) for signal in self._signals]

    def _of_runs(self, decays: Sequence[float]) -> float | Tensor:
        """A number if all runs agree, else (R, 1, 1)."""
        return decays[0] if len(set(decays)) == 1 else self.points.new_tensor(decays)[:, None, None]

    @torch.no_grad()
    def __call__(self) -> None:
        points, weights = self.points, self.weights
        if self.relu:
            signals = [points.mT]  # what each layer reads: (R, width, N)
            for weight, room in zip(weights[:-1], self._signals, strict=True):
                signals.append(torch.bmm(weight, signals[-1], out=room).relu_())
            back = self._errors(weights[-1] @ signals[-1])
            for m in range(len(weights) - 1, 0, -1):
                torch.bmm(back, signals[m].mT, out=weights[m].grad)
                back = torch.bmm(weights[m].mT, back, out=self._backs[m - 1]).mul_(signals[m] > 0)
            torch.bmm(back, signals[0].mT, out=weights[0].grad)
            torch.bmm(back.mT, weights[0], out=points.grad)
        else:
            products = [weights[-1]]  # W_M, W_M W_(M-1), ..
            for weight in reversed(weights[:-1]):
                products.append(products[-1] @ weight)
            errors = self._errors(products[-1] @ points.mT)
            torch.bmm(errors.mT, products[-1], out=points.grad)
            pull = errors @ points  # (R, K, d): the gradient with respect to the product of all layers
            for m, weight in enumerate(weights[:-1]):
                torch.bmm(products[-2 - m].mT, pull, out=weight.grad)
                pull = pull @ weight.mT
            assert weights[-1].grad is not None
            weights[-1].grad.copy_(pull)
            if self.bias is not None:
                torch.sum(errors, dim=2, out=self.bias.grad)
        for parameter, decay in zip(self.decayed, self.decays, strict=True):
            _add_decay(parameter, decay)

    def _errors(self, logits: Tensor) -> Tensor:
        """The gradient of the data term with respect to the (R, K, N) logits, in their memory; the bias is still to be
        added."""
        if self.bias is not None:
            logits += self.bias[:, :, None]
        written_out = self.loss.gradient(logits, self.targets, self.N)
        errors, self._fit = written_out or (_by_autograd(self.loss, logits, self.targets), logits)
        return errors

    @torch.no_grad()
    def values(self) -> Tensor:
        """(R,): each run's objective at the last call."""
        total = self.loss.value(self._fit, self.targets, self.N)
        for parameter, decay in zip(self.decayed, self.decays, strict=True):
            total += (parameter.square() * (decay / 2)).flatten(1).sum(dim=1)
        return total


def _by_autograd(loss: Loss, logits: Tensor, targets: Tensor) -> Tensor:
    """The gradient of the data term with respect to the (R, K, N) logits, for a loss without an explicit one."""
    N = logits.shape[2]
    with torch.enable_grad():
        watched = logits.detach().requires_grad_()
        # The samples of all runs are summed; each sample's gradient is its own.
        total = loss.data_sum(watched.mT.flatten(0, 1), targets.argmax(dim=1).flatten())
        (gradient,) = torch.autograd.grad(total / N, watched)
    return gradient.contiguous()


def _decays(objective: Objective) -> list[float]:
    assert objective.feature_decay is not None
    return [objective.feature_decay, *objective.weight_decays]


def _add_decay(parameter: Tensor, decay: float | Tensor) -> None:
    assert parameter.grad is not None
    if isinstance(decay, Tensor):
        parameter.grad.addcmul_(parameter, decay)
    else:
        parameter.grad.add_(parameter, alpha=decay)
