"""Matrices that do not change when classes of equal count and weight change places: a few numbers for each pair of
kinds of classes, instead of one for each pair of classes.

A convex problem that treats such classes alike has an optimum that does, so it can be solved among these matrices. With
g_a classes of kind a, the entries of such a matrix are `off[a, b]` for two different classes of kinds a and b, and
`own[a]` on the diagonal. In the orthonormal basis of the kinds' normalised indicators and, inside each kind, anything
orthogonal to it, the matrix falls into
    one block  R_ab = sqrt(g_a g_b) off_ab + delta_ab (own_a - off_aa)
    and  g_a - 1 times the number  own_a - off_aa  for each kind.
`packed`, (G+1, G), holds R and below it sqrt(g_a - 1) (own_a - off_aa), so that sums of squares and inner products are
those of the whole matrices. With kinds of one class each, R is the matrix and the last row is zero.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Entries:
    """off: (G, G), of different classes; its diagonal has no meaning where a kind has one class. own: (G,)."""

    off: Array
    own: Array

    @classmethod
    def of(cls, matrix: Array) -> "Entries":
        """Of a (K, K) matrix with each class a kind of its own."""
        return cls(matrix, np.diag(matrix))


@dataclass(frozen=True)
class Kinds:
    """of_class: (K,), from 0 on, the kind of each class."""

    of_class: NDArray[np.int64]

    @classmethod
    def of(cls, values: Array) -> "Kinds":
        """values: (K,) or (K, m), what classes of one kind have in common."""
        return cls(np.unique(values, axis=0, return_inverse=True)[1].ravel())

    @cached_property
    def sizes(self) -> Array:
        """(G,): g."""
        return np.bincount(self.of_class).astype(float)

    @cached_property
    def members(self) -> NDArray[np.int64]:
        """(G,): the first class of each kind."""
        return np.unique(self.of_class, return_index=True)[1]

    @cached_property
    def others(self) -> Array:
        """(G, G): of how many classes of kind a a class of kind b is none."""
        return self.sizes[:, None] - np.eye(len(self.sizes))

    @cached_property
    def rest(self) -> Array:
        """(G,): sqrt(g - 1)."""
        return np.sqrt(self.sizes - 1)

    @cached_property
    def _roots(self) -> Array:
        return np.sqrt(np.outer(self.sizes, self.sizes))

    def packed(self, entries: Entries) -> Array:
        """(G+1, G)."""
        apart = np.where(self.sizes > 1, entries.own - np.diag(entries.off), 0)
        block = self._roots * entries.off
        np.fill_diagonal(block, self.sizes * np.where(self.sizes > 1, np.diag(entries.off), entries.own) + apart)
        return np.vstack((block, self.rest * apart))

    def unpacked(self, packed: Array) -> Entries:
        apart = packed[-1] / np.where(self.sizes > 1, self.rest, 1)
        off = packed[:-1].copy()
        np.fill_diagonal(off, np.diag(off) - apart)
        off /= self._roots
        return Entries(off, np.diag(off) + apart)

    def sums(self, entries: Entries) -> Array:
        """(G, G): of a column of each kind, its entries summed over the classes of each kind."""
        return np.asarray(self.others * entries.off + np.diag(entries.own))

    def matrix(self, entries: Entries) -> Array:
        """(K, K)."""
        found = entries.off[self.of_class[:, None], self.of_class]
        np.fill_diagonal(found, entries.own[self.of_class])
        return found

    def entries(self, matrix: Array) -> Entries:
        """Of a (K, K) matrix, with the mean over all exchanges of classes."""
        own = np.bincount(self.of_class, weights=np.diag(matrix))
        apart = matrix.copy()
        np.fill_diagonal(apart, 0)  # a large diagonal, added and taken away again, would cost the others their digits
        columns = np.zeros((len(self.sizes), len(matrix)))
        np.add.at(columns, self.of_class, apart)
        sums = np.zeros_like(self.others)
        np.add.at(sums.T, self.of_class, columns.T)
        return Entries(sums / np.maximum(self.others * self.sizes, 1), own / self.sizes)
