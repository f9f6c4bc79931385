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
        # Read once: PyTorch's search for a module's parameters would take a tenth of a small step. Detached, so that
        # autograd records nothing of a step.
        self.points, self.weights = model.points.detach(), [weight.detach() for weight in model.head.weights]
        self.bias = None if model.head.bias is None else model.head.bias.detach()
        self.relu = model.head.relu
        self.loss, self.N = first.loss, first.num_samples
        K = self.weights[-1].shape[1]
        if not labels.is_floating_point():
            labels = functional.one_hot(labels, K)
        self.targets = labels.expand(model.num_runs, self.N, K).mT.to(self.points.dtype).contiguous()
        self.point_gradient = _gradient_of(model.points)
        self.weight_gradients = [_gradient_of(weight) for weight in model.head.weights]
        self.bias_gradient = None if model.head.bias is None else _gradient_of(model.head.bias)
        # What decays, its gradient, and lam_H, lam_W_1 .. lam_W_M, and lam_b if the bias decays.
        decays = [self._of_runs(of_all) for of_all in zip(*map(_decays, objectives), strict=True)]
        gradients = [self.point_gradient, *self.weight_gradients]
        self.decayed = list(zip([self.points, *self.weights], gradients, decays, strict=True))
        if self.bias is not None and self.bias_gradient is not None and any(each.bias_decay for each in objectives):
            decay = self._of_runs([each.bias_decay for each in objectives])
            self.decayed.append((self.bias, self.bias_gradient, decay[:, :, 0] if isinstance(decay, Tensor) else decay))
        self.points_t, self.weights_t = self.points.mT, [weight.mT for weight in self.weights]
        # With allocation at every step, signals of a megabyte or more would take twice as long, because of page faults.
        hidden = self.weights[:-1] if self.relu else []
        self._signals = [self.points.new_empty(*weight.shape[:2], self.N) for weight in hidden]
        self._backs = [torch.empty_like(signal) for signal in self._signals]

    def _of_runs(self, decays: Sequence[float]) -> float | Tensor:
        """A number if all runs agree, else (R, 1, 1)."""
        return decays[0] if len(set(decays)) == 1 else self.points.new_tensor(decays)[:, None, None]

    def __call__(self) -> None:
        points, weights, gradients = self.points, self.weights, self.weight_gradients
        if self.relu:
            signals = [self.points_t]  # what each layer reads: (R, width, N)
            for weight, room in zip(weights[:-1], self._signals, strict=True):
                signals.append(torch.bmm(weight, signals[-1], out=room).relu_())
            back = self._errors(torch.bmm(weights[-1], signals[-1]))
            for m in range(len(weights) - 1, 0, -1):
                torch.bmm(back, signals[m].mT, out=gradients[m])
                back = torch.bmm(self.weights_t[m], back, out=self._backs[m - 1]).mul_(signals[m] > 0)
            torch.bmm(back, points, out=gradients[0])
            torch.bmm(back.mT, weights[0], out=self.point_gradient)
        else:
            products = [weights[-1]]  # W_M, W_M W_(M-1), ..
            for weight in weights[-2::-1]:
                products.append(torch.bmm(products[-1], weight))
            errors = self._errors(torch.bmm(products[-1], self.points_t))
            torch.bmm(errors.mT, products[-1], out=self.point_gradient)
            pull, of_product = errors, points  # their product: the gradient with respect to the product of the layers
            for m, above in enumerate(products[-2::-1]):
                pull = torch.bmm(pull, of_product)
                torch.bmm(above.mT, pull, out=gradients[m])
                of_product = self.weights_t[m]
            torch.bmm(pull, of_product, out=gradients[-1])
            if self.bias_gradient is not None:
                torch.sum(errors, dim=2, out=self.bias_gradient)
        for parameter, gradient, decay in self.decayed:
            if isinstance(decay, Tensor):
                gradient.addcmul_(parameter, decay)
            else:
                gradient.add_(parameter, alpha=decay)

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
        for parameter, _, decay in self.decayed:
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


def _gradient_of(parameter: Tensor) -> Tensor:
    """The memory of its gradient."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad
