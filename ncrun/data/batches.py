"""The samples of each step. The data is on the device; a batch is an index."""

import torch
from torch import Tensor


def epoch_order(num_samples: int, generator: torch.Generator) -> Tensor:
    """A fresh permutation of the samples, drawn on the CPU so that it is the same on every device."""
    return torch.randperm(num_samples, generator=generator)


def batch_slices(num_samples: int, batch_size: int) -> list[slice]:
    """Consecutive parts of an epoch's order; a last batch of a single sample joins the one before it."""
    starts = list(range(0, num_samples, batch_size))
    if len(starts) > 1 and batch_size > 1 and num_samples - starts[-1] == 1:
        starts.pop()
    ends = [*starts[1:], num_samples]
    return [slice(start, end) for start, end in zip(starts, ends, strict=True)]
