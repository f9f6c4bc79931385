"""The directions along which a problem of K classes splits: general ones, the classes themselves, or those of kinds of
classes, which need no K x K matrix.

left diag(values) right^T is the matrix of the logits times sqrt(n_k), or of the labels; the values are in descending
order. Powers of them along the same directions are the Gram matrices of the classifier, left diag(w) left^T, and of the
class means, D^-1 right diag(h) right^T D^-1 with D = diag(sqrt n_k).
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ncrun.problem import Problem
from ncrun.theory.class_matrix import ClassMatrix
from ncrun.theory.exchangeable import Kinds
from ncrun.theory.prediction import Array
from ncrun.theory.symmetry import kinds_of


class Axes(Protocol):
    """The matrices of a problem for (r,) numbers along its directions."""

    def weights(self, powers: Array) -> ClassMatrix: ...

    def features(self, powers: Array) -> ClassMatrix: ...

    def logits(self, kept: Array) -> ClassMatrix: ...


class AnySpectrum(Protocol):
    """values: (r,). classes_along: the classes of the marked directions, (r,)."""

    @property
    def values(self) -> Array: ...

    def axes_of(self, problem: Problem) -> Axes: ...

    def classes_along(self, directions: NDArray[np.bool_]) -> NDArray[np.int64]: ...


@dataclass(frozen=True, eq=False)
class Spectrum:
    """left, right: (K, r) with orthonormal columns."""

    left: Array
    values: Array
    right: Array

    @classmethod
    def of(cls, matrix: Array) -> "Spectrum":
        """From a (K, K) matrix, without directions that are rounding relative to the largest."""
        left, values, right_t = full_svd(matrix)
        alive = values > 1e-12 * max(float(values[0]), 1e-300)
        return cls(left[:, alive], values[alive], right_t[alive].T)

    def axes_of(self, problem: Problem) -> "_WholeAxes":
        return _WholeAxes(self, np.asarray(problem.counts, dtype=float), kinds_of(problem))

    def classes_along(self, directions: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.flatnonzero(np.abs(self.left[:, directions]).max(axis=1) > 1e-6)


@dataclass(frozen=True, eq=False)
class _WholeAxes:
    spectrum: Spectrum
    counts: Array
    kinds: Array

    @property
    def _per_sample(self) -> Array:
        """(K, r): D^-1 right, from the directions of the label matrix to class means."""
        return np.asarray(self.spectrum.right / np.sqrt(self.counts)[:, None])

    def weights(self, powers: Array) -> ClassMatrix:
        left = self.spectrum.left
        return ClassMatrix.alike((left * powers) @ left.T, self.kinds)

    def features(self, powers: Array) -> ClassMatrix:
        return ClassMatrix.alike((self._per_sample * powers) @ self._per_sample.T, self.kinds)

    def logits(self, kept: Array) -> ClassMatrix:
        return ClassMatrix.alike((self.spectrum.left * kept) @ self._per_sample.T, self.kinds)


@dataclass(frozen=True, eq=False)
class ClassSpectrum:
    """Each class is a direction. order: (K,), the classes by descending value."""

    order: NDArray[np.int64]
    values: Array

    def by_class(self, powers: Array) -> Array:
        """(K,): the number along each class."""
        found = np.empty_like(powers)
        found[self.order] = powers
        return found

    def axes_of(self, problem: Problem) -> "_ClassAxes":
        return _ClassAxes(self, np.asarray(problem.counts, dtype=float))

    def classes_along(self, directions: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.sort(self.order[directions])


@dataclass(frozen=True, eq=False)
class _ClassAxes:
    spectrum: ClassSpectrum
    counts: Array

    def weights(self, powers: Array) -> ClassMatrix:
        return ClassMatrix.diagonal(self.spectrum.by_class(powers))

    def features(self, powers: Array) -> ClassMatrix:
        return ClassMatrix.diagonal(self.spectrum.by_class(powers) / self.counts)

    def logits(self, kept: Array) -> ClassMatrix:
        return ClassMatrix.diagonal(self.spectrum.by_class(kept) / np.sqrt(self.counts))


@dataclass(frozen=True, eq=False)
class KindSpectrum:
    """From a matrix that treats classes of one kind equally (ncrun.theory.exchangeable).

    left, right: (G, r), of the block of the kinds. order: where each of the values stands among those of the block and,
    of each kind, the one that its differences share, once for each of g - 1.
    """

    kinds: Kinds
    left: Array
    right: Array
    order: NDArray[np.int64]
    values: Array

    @classmethod
    def of(cls, kinds: Kinds, left: Array, block: Array, right: Array, apart: Array) -> "KindSpectrum":
        """block: (r,), of the block. apart: (G,), what the differences inside each kind share."""
        together = np.concatenate((block, np.repeat(apart, kinds.sizes.astype(int) - 1)))
        order = np.argsort(-together, kind="stable")
        return cls(kinds, left, right, order, together[order])

    def split(self, powers: Array) -> tuple[Array, Array]:
        """(r,) along the block's directions, and (G,) along the differences inside each kind, zero where it has one
        class. Of equal differences the largest."""
        together = np.empty_like(powers)
        together[self.order] = powers
        r = self.left.shape[1]
        apart = np.zeros(len(self.kinds.sizes))
        np.maximum.at(apart, self._kind_of_difference, together[r:])
        return together[:r], apart

    @property
    def _kind_of_difference(self) -> NDArray[np.int64]:
        return np.repeat(np.arange(len(self.kinds.sizes)), self.kinds.sizes.astype(int) - 1)

    def matrix(self, left: Array, powers: Array, right: Array, rows: Array, columns: Array) -> ClassMatrix:
        """diag(rows) left diag(powers) right^T diag(columns). rows, columns: (G,), for the classes of each kind."""
        block, apart = self.split(powers)
        entries = self.kinds.unpacked(np.vstack(((left * block) @ right.T, self.kinds.rest * apart)))
        own = entries.own * rows * columns
        return ClassMatrix(self.kinds.of_class, entries.off * np.outer(rows, columns), own[self.kinds.of_class])

    def axes_of(self, problem: Problem) -> "_KindAxes":
        return _KindAxes(self, np.asarray(problem.counts, dtype=float)[self.kinds.members] ** -0.5)

    def classes_along(self, directions: NDArray[np.bool_]) -> NDArray[np.int64]:
        among = self.order[directions] - self.left.shape[1]
        kinds = np.unique(self._kind_of_difference[among[among >= 0]])
        return np.flatnonzero(np.isin(self.kinds.of_class, kinds))


@dataclass(frozen=True, eq=False)
class _KindAxes:
    """per_sample: (G,), 1 / sqrt(n)."""

    spectrum: KindSpectrum
    per_sample: Array

    @property
    def _ones(self) -> Array:
        return np.ones_like(self.per_sample)

    def weights(self, powers: Array) -> ClassMatrix:
        left = self.spectrum.left
        return self.spectrum.matrix(left, powers, left, self._ones, self._ones)

    def features(self, powers: Array) -> ClassMatrix:
        right = self.spectrum.right
        return self.spectrum.matrix(right, powers, right, self.per_sample, self.per_sample)

    def logits(self, kept: Array) -> ClassMatrix:
        return self.spectrum.matrix(self.spectrum.left, kept, self.spectrum.right, self._ones, self.per_sample)


def full_svd(matrix: Array) -> tuple[Array, Array, Array]:
    """left, values (descending), right^T of a square matrix."""
    try:
        left, values, right_t = np.linalg.svd(matrix)
    except np.linalg.LinAlgError:
        # LAPACK's divide and conquer fails for rare matrices with many equal singular values; then the transpose works.
        right, values, left_t = np.linalg.svd(matrix.T)
        return left_t.T, values, right.T
    return left, values, right_t
