"""Features, labels and a classifier that the tests of meters share, and meters filled with them."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import ncrun

COUNTS = (40, 25, 30, 7)
WIDTH = 9
# The same float64 sums over the same features, in another order.
TOLERANCE = {"rel": 1e-10, "abs": 1e-12}


def samples(
    spread: float = 0.5,
    dtype: torch.dtype = torch.float64,
    counts: tuple[int, ...] = COUNTS,
    width: int = WIDTH,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """(N, d) features about class means of size 1 that lie 10 from the origin, shuffled. spread: within a class."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    features = 10 + normal(len(counts), width)[labels] + spread * normal(len(labels), width)
    order = torch.randperm(len(labels), generator=generator)
    return features[order].to(dtype), labels[order]


def head(depth: int = 1, width: int = WIDTH, num_classes: int = len(COUNTS)) -> tuple[list[Tensor], Tensor]:
    generator = torch.Generator().manual_seed(7)
    sizes = [width, *[6] * (depth - 1), num_classes]
    weights = [torch.randn(sizes[m + 1], sizes[m], dtype=torch.float64, generator=generator) / 3 for m in range(depth)]
    return weights, torch.randn(num_classes, dtype=torch.float64, generator=generator)


def fill(meter: Any, features: Tensor, labels: Tensor, batch: int = 16) -> Any:
    for start in range(0, len(labels), batch):
        meter.update(features[start : start + batch], labels[start : start + batch])
    return meter


def assert_same(found: ncrun.Measurement, whole: ncrun.Measurement, **tolerance: float) -> None:
    """Every column and the prediction; those that `found` does not know have a reason."""
    tolerance = tolerance or TOLERANCE
    assert list(found.metrics) == list(whole.metrics)
    assert found.theory == whole.theory
    for key, expected in whole.metrics.items():
        value = found.metrics[key]
        if key in found.absent:
            assert value is None, key
            continue
        if isinstance(expected, list):
            value, expected = np.array(value, dtype=float), np.array(expected, dtype=float)
        assert value == (None if expected is None else pytest.approx(expected, **tolerance)), key
