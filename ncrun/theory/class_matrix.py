"""A K x K matrix over the classes, stored by its different entries; the whole array is made only on request."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ncrun.theory.exchangeable import Entries, Kinds

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ClassMatrix:
    """of_class: (K,), from 0 on, the kind of each class. off: (G, G), the entry of two different classes of these
    kinds. own: (K,), the diagonal. Rows can be sliced: `matrix[3:7]`, (4, K)."""

    of_class: NDArray[np.int64]
    off: Array
    own: Array

    @classmethod
    def whole(cls, matrix: Array) -> "ClassMatrix":
        """From a (K, K) matrix, with each class its own kind."""
        return cls(np.arange(len(matrix)), matrix, np.diag(matrix))

    @classmethod
    def alike(cls, matrix: Array, kinds: Array) -> "ClassMatrix":
        """The mean of a (K, K) matrix over all exchanges of classes of one kind, so that equal entries have equal bits.
        kinds: (K,), as `symmetry.kinds_of` says."""
        found = Kinds.of(kinds)
        if len(found.sizes) == len(kinds):
            return cls.whole(matrix)
        return cls.of_kinds(found, found.entries(matrix))

    @classmethod
    def of_kinds(cls, kinds: Kinds, entries: Entries) -> "ClassMatrix":
        return cls(kinds.of_class, entries.off, entries.own[kinds.of_class])

    @classmethod
    def diagonal(cls, own: Array) -> "ClassMatrix":
        return cls(np.zeros(len(own), dtype=np.int64), np.zeros((1, 1)), own)

    @property
    def is_diagonal(self) -> bool:
        return not self.off.any()

    def __len__(self) -> int:
        return len(self.own)

    def __getitem__(self, part: slice, /) -> Array:
        classes = np.arange(len(self))[part]
        found = self.off[self.of_class[classes]][:, self.of_class]
        found[np.arange(len(classes)), classes] = self.own[classes]
        return np.asarray(found)

    def columns(self, classes: NDArray[np.int64]) -> Array:
        """(K, B): those of B classes."""
        found = self.off[:, self.of_class[classes]][self.of_class]
        found[classes, np.arange(len(classes))] = self.own[classes]
        return np.asarray(found)

    @cached_property
    def array(self) -> Array:
        """(K, K), read-only."""
        found = self[:]
        found.flags.writeable = False
        return found
