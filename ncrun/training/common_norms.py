"""BatchNorm over a batch of which every rank has a share: on any device, in any dtype, the layer of one process."""

from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from ncrun.errors import UserError
from ncrun.training.ranks import Ranks

N = TypeVar("N", bound=nn.Module)
KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def with_common_norms(network: N, ranks: Ranks) -> N:
    """The network, whose BatchNorms take their statistics over what all ranks have of a batch. Raises UserError for one
    that cannot."""
    for parent in list(network.modules()) if ranks.number > 1 else ():
        for name, norm in list(parent.named_children()):
            if isinstance(norm, _BatchNorm):
                setattr(parent, name, CommonNorm(norm, ranks))
    return network


class CommonNorm(_BatchNorm):
    """Takes the place of a BatchNorm, with its parameters and statistics."""

    def __init__(self, norm: _BatchNorm, ranks: Ranks) -> None:
        if type(norm) not in KINDS or norm.running_mean is None:
            why = "keeps no statistics" if type(norm) in KINDS else "is not PyTorch's own"
            raise UserError(f"{ranks.number} ranks: the network has a BatchNorm ({type(norm).__name__}) that {why}")
        super().__init__(norm.num_features, norm.eps, norm.momentum, affine=False)
        self.affine, self.weight, self.bias = norm.affine, norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        self.training, self.ranks = norm.training, ranks

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, ...), a rank's share of the batch."""
        if not self.training:
            return super().forward(input)
        normalised, mean, variance, count = _Normalise.apply(input, self.weight, self.bias, self.eps, self.ranks)
        self._collect(mean, variance * (count / (count - 1)))
        output: Tensor = normalised
        return output

    @torch.no_grad()
    def _collect(self, mean: Tensor, variance: Tensor) -> None:
        """As PyTorch does: a running mean of the batches, or the mean of all where there is no momentum."""
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        share = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
        for running, new in ((self.running_mean, mean), (self.running_var, variance)):
            assert running is not None
            running += share * (new.to(running.dtype) - running)


class _Normalise(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) * weight + bias, by channel. Sums over samples are in float64.

    With g the derivative of the loss by the output, x' the normalised input and means over the batches of all ranks,
    the derivative by x is weight / sqrt(variance + eps) * (g - mean(g) - x' mean(g x')). The loss of each rank depends
    on the samples of all, so that these means are over all; those for weight and bias are this rank's part, as every
    parameter's are (ncrun.training.gradients adds them up).
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, ranks: Ranks
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        points = _precise(x)
        here = x.new_full((1,), x.numel() / x.shape[1], dtype=torch.float64)
        sums = torch.cat([_sum(points), here])
        ranks.add([sums])
        count, mean = sums[-1], sums[:-1] / sums[-1]
        centred = points - _by_channel(mean, points)
        squares = _sum(centred.square())
        ranks.add([squares])
        variance = squares / count
        scale = (variance + eps).rsqrt()
        output = centred.mul_(_by_channel(scale, points))
        if weight is not None and bias is not None:
            output = output * _by_channel(weight, points) + _by_channel(bias, points)
        ctx.save_for_backward(x, weight, mean, scale, count)
        ctx.ranks = ranks
        ctx.mark_non_differentiable(mean, variance, count)
        return output.to(x.dtype), mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, pulls: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        x, weight, mean, scale, count = ctx.saved_tensors
        points, pulls = _precise(x), _precise(pulls)
        normalised = (points - _by_channel(mean, points)) * _by_channel(scale, points)
        own = torch.stack([_sum(pulls), _sum(pulls * normalised)])
        every = own.clone()
        ctx.ranks.add([every])
        of_bias, of_weight = (each / count for each in every)
        by_input = pulls - _by_channel(of_bias, points) - normalised * _by_channel(of_weight, points)
        by_input *= _by_channel(scale if weight is None else scale * weight, points)
        if weight is None:
            return by_input.to(x.dtype), None, None, None, None
        return by_input.to(x.dtype), own[1].to(weight.dtype), own[0].to(weight.dtype), None, None


def _precise(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def _sum(x: Tensor) -> Tensor:
    """(C,), over all but the channels."""
    return x.sum(dim=[0, *range(2, x.dim())], dtype=torch.float64)


def _by_channel(values: Tensor, like: Tensor) -> Tensor:
    """(C,) values in the dtype of `like`, (B, C, ...), to be broadcast to its shape."""
    return values.to(like.dtype).view(1, -1, *[1] * (like.dim() - 2))
