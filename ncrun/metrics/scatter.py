"""The scatter algebra: class means, deviations from them, and the few directions in which NC1 is measured.

Features come in the training precision; everything is accumulated and solved in float64, a block of rows at a time,
because near collapse a float32 variance or pseudo-inverse is noise. No d x d matrix is ever formed: tr(Sigma_W
pinv(Sigma_B)) depends only on the span of the centred class means, which has at most K-1 dimensions.

Blocks are small and reuse one buffer: with 32 MB blocks three quarters of the measuring time went into page faults,
because the allocator returns every temporary array of that size to the system and requests it again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from ncrun.metrics.effective import num_effective

BLOCK_NUMBERS = 2**18  # of float64: 2 MB, about a core's cache
FEWEST_ROWS, MOST_ROWS = 256, 8192  # fewer make the products slow
PROJECTED_ROWS = 2048  # with fewer, the calls on the few numbers of each sample take longer than their arithmetic
GPU_BLOCK_NUMBERS = 2**25  # 256 MB: on a GPU small blocks spend their time on kernel launches


@dataclass(frozen=True)
class ClassMeans:
    """counts: (K,) float64. means: (K, d) float64, row k the mean feature of class k.

    overall: (d,), the sample-weighted mean of all features.
    """

    counts: Tensor
    means: Tensor
    overall: Tensor

    def mapped(self, matrix: Tensor) -> "ClassMeans":
        """The class means of features after a linear map, matrix: (d', d)."""
        return ClassMeans(self.counts, self.means @ matrix.T, self.overall @ matrix.T)

    def gram_input(self, centred: bool, rank: int) -> Tensor:
        """(K, d): the means as they enter Gram matrices, minus the overall mean if centred.

        rank: of their differences; if it is 0, centring leaves only rounding, and zeros are returned.
        """
        if not centred:
            return self.means
        return self.means - self.overall if rank else torch.zeros_like(self.means)


class Points(Protocol):
    """(N, d) features of a split with (N,) labels, read in order, as often as necessary.

    precision: of the features. width: d. device: where they and the labels are.
    """

    @property
    def precision(self) -> torch.dtype: ...

    @property
    def width(self) -> int: ...

    @property
    def device(self) -> torch.device: ...

    def blocks(self, rows: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(B, d) and (B,), block by block; B is a multiple of `rows`, except for the last."""

    def add_others(self, sums: Sequence[Tensor]) -> None:
        """Add to each sum the sums of other processes over their points."""


@dataclass(frozen=True)
class Held:
    """Points that are in memory."""

    features: Tensor
    labels: Tensor

    @property
    def precision(self) -> torch.dtype:
        return self.features.dtype

    @property
    def width(self) -> int:
        return self.features.shape[1]

    @property
    def device(self) -> torch.device:
        return self.features.device

    def blocks(self, rows: int) -> Iterator[tuple[Tensor, Tensor]]:
        yield self.features, self.labels

    def add_others(self, sums: Sequence[Tensor]) -> None:
        """There are no other processes."""


def rows_of_block(width: int, num_classes: int, on_gpu: bool) -> int:
    """The rows of about BLOCK_NUMBERS numbers of (N, width) features; at least as many numbers per class."""
    width = max(width, num_classes)
    if on_gpu:
        return max(GPU_BLOCK_NUMBERS // width, FEWEST_ROWS)
    return min(max(BLOCK_NUMBERS // width, FEWEST_ROWS), MOST_ROWS)


def rows_projected(width: int, num_classes: int, on_gpu: bool) -> int:
    """Rows of (N, width) features whose projections, a few for each class, are kept before they are added up: those of
    several blocks if blocks are short."""
    rows = rows_of_block(width, num_classes, on_gpu)
    return rows if on_gpu else rows * max(1, min(PROJECTED_ROWS, BLOCK_NUMBERS // num_classes) // rows)


def row_blocks(points: Tensor, num_classes: int = 1) -> Iterator[slice]:
    """Consecutive parts of the rows of an (N, d) tensor, of `rows_of_block` rows each."""
    rows = rows_of_block(points.shape[1], num_classes, points.is_cuda)
    for start in range(0, len(points), rows):
        yield slice(start, min(start + rows, len(points)))


def deviations(features: Tensor, labels: Tensor, means: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The labels (B,) and float64 deviations (B, d) from the class means, block by block.

    features: (N, d). means: (K, d) float64. The deviations lie in one buffer that the next block overwrites.
    """
    parts = list(row_blocks(features, len(means)))
    buffer = torch.empty(parts[0].stop, features.shape[1], dtype=torch.float64, device=features.device)
    # On a CPU the difference of two types would first convert one of them into newly allocated memory in each block.
    converts = features.dtype != buffer.dtype and not features.is_cuda
    converted = torch.empty_like(buffer) if converts else buffer
    for part in parts:
        y = labels[part]
        own = torch.index_select(means, 0, y, out=buffer[: len(y)])
        if converts:
            yield y, converted[: len(y)].copy_(features[part]).sub_(own)
        else:
            yield y, torch.sub(features[part], own, out=own)


def add_by_class(sums: Tensor, labels: Tensor, values: Tensor) -> None:
    """Add the values, (B, ...), of the samples of class k to sums[k], (K, ...). On a GPU this is a product with zeros
    and ones, because additions to few places would wait for each other there and have no fixed order."""
    if values.is_cuda:
        sums += functional.one_hot(labels, len(sums)).to(values.dtype).T @ values
    else:
        sums.index_add_(0, labels, values)


def class_means(features: Tensor, labels: Tensor, num_classes: int) -> ClassMeans:
    """Means of (N, d) features per class and over all samples. Raises ValueError if a class has no sample."""
    return means_of(Held(features, labels), num_classes)


def means_of(points: Points, num_classes: int) -> ClassMeans:
    """The same for points that need not be in memory."""
    counts = torch.zeros(num_classes, dtype=torch.int64, device=points.device)
    sums = torch.zeros(num_classes, points.width, dtype=torch.float64, device=points.device)
    for features, labels in points.blocks(rows_of_block(points.width, 1, points.device.type == "cuda")):
        number = torch.bincount(labels, minlength=num_classes)
        if len(number) != num_classes:
            raise ValueError(f"labels: expected 0..{num_classes - 1}, found {len(number) - 1}")
        counts += number
        for part in row_blocks(features):
            add_by_class(sums, labels[part], features[part].double())
    points.add_others([counts, sums])
    if not bool(counts.all()):
        raise ValueError(f"every class 0..{num_classes - 1} needs a sample; counts are {counts.tolist()}")
    number = counts.double()
    return ClassMeans(number, sums / number[:, None], sums.sum(dim=0) / number.sum())


@dataclass(frozen=True)
class BetweenDirections:
    """The eigenvectors of Sigma_B = (1/K) sum_k (h_k - h_G)(h_k - h_G)^T with a nonzero eigenvalue.

    basis: (d, min(K, d)) orthonormal, of all centred means, in the order of their singular values s. values: (r,)
    eigenvalues, those of its first r columns. trace: tr Sigma_B. rank: r, from s: s_i > K eps s_1 with eps of the
    features' own precision.
    """

    basis: Tensor
    values: Tensor
    trace: float
    rank: int

    @cached_property
    def effective(self) -> int:
        """The number of effective directions, which come first."""
        return num_effective(self.values.sqrt())

    def pulled_back(self, weights: Sequence[Tensor] = ()) -> Tensor:
        """(d, r): columns such that the squared projections of a feature deviation on them are the NC1 terms above the
        linear layers `weights`, the first of which reads the features."""
        axes = self.basis[:, : self.rank] / self.values.sqrt()
        for below in reversed(weights):  # K columns at a time
            axes = below.T @ axes
        return axes


def between_directions(means: ClassMeans, precision: torch.dtype) -> BetweenDirections:
    """Thin SVD of the K x d centred class means. Sigma_B weights classes equally, about the sample-weighted mean.
    Raises FloatingPointError if the means are not finite."""
    num_classes = len(means.counts)
    centred = (means.means - means.overall) / num_classes**0.5
    try:
        _, singular, axes_t = torch.linalg.svd(centred, full_matrices=False)
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
        raise FloatingPointError(f"the class means have no singular values ({error})") from error
    # A sum over n_k samples has rounding of up to n_k eps of the means' size, which may exceed their differences.
    rounding = torch.finfo(torch.float64).eps * float(means.counts.max() * means.means.norm())
    keep = (singular > num_classes * torch.finfo(precision).eps * singular[0]) & (singular > rounding)
    keep[num_classes - 1 :] = False  # sum_k n_k (h_k - h_G) = 0
    values, rank = singular.square(), int(keep.sum())
    return BetweenDirections(axes_t.T, values[:rank], float(values.sum()), rank)
