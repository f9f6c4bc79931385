"""K x K matrices of the classes, a few rows at a time: at K = 10,000 a whole one would be 800 MB."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

TILE_NUMBERS = 2**21  # of float64: 16 MB. Up to K = 1,448 one tile is the whole matrix


class Rows(Protocol):
    """A matrix whose rows can be sliced; a NumPy array is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> Array: ...


@dataclass(frozen=True, eq=False)
class Product:
    """left right^T. left: (K, d). right: (K', d)."""

    left: Array
    right: Array

    def __len__(self) -> int:
        return len(self.left)

    def __getitem__(self, part: slice, /) -> Array:
        return np.asarray(self.left[part] @ self.right.T)


@dataclass(frozen=True)
class Simplex:
    """The Gram matrix of a simplex equiangular tight frame, I - 11^T/K."""

    num_classes: int

    def __len__(self) -> int:
        return self.num_classes

    def __getitem__(self, part: slice, /) -> Array:
        classes = np.arange(self.num_classes)[part]
        found = np.full((len(classes), self.num_classes), -1 / self.num_classes)
        found[np.arange(len(classes)), classes] += 1
        return found


@dataclass(frozen=True, eq=False)
class Moved:
    """fixed + value axes axes^T. axes: (K, r)."""

    fixed: Rows
    value: float
    axes: Array

    def __len__(self) -> int:
        return len(self.fixed)

    def __getitem__(self, part: slice, /) -> Array:
        return np.asarray(self.fixed[part] + self.value * (self.axes[part] @ self.axes.T))


def parts(num_rows: int, width: int) -> Iterator[slice]:
    """Consecutive rows of a matrix of that width, about TILE_NUMBERS numbers at a time."""
    rows = max(TILE_NUMBERS // width, 1)
    for start in range(0, num_rows, rows):
        yield slice(start, min(start + rows, num_rows))


def parts_of(matrix: Rows) -> Iterator[slice]:
    return parts(len(matrix), matrix[:1].shape[1])
