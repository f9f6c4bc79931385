"""A split that stays on the disk, of which some samples at a time are read. Torch-free."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Of the numbers of the samples that are looked at together: 32 MB of them in float64.
BLOCK_NUMBERS = 2**22
MOST_ROWS = 1024


@dataclass(frozen=True)
class Stored(ABC):
    """Samples that another process can read as well: what is sent to it names files and holds no image.

    labels: (N,) int64. shape: (C, H, W) of a sample. dtype: of its numbers.
    """

    labels: NDArray[np.int64]
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]

    @abstractmethod
    def read(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """(B, C, H, W), the samples of these numbers. Raises UserError that names a file and what is wrong with it."""

    def whole(self) -> NDArray[Any]:
        """(N, C, H, W)."""
        images = np.empty((len(self.labels), *self.shape), self.dtype)
        for part in blocks_of(len(images), self.shape):
            images[part] = self.read(np.arange(part.start, part.stop))
        return images


def blocks_of(number: int, shape: tuple[int, ...]) -> Iterator[slice]:
    """Consecutive parts of so many samples of a shape, small enough to be worked on in float64."""
    rows = min(MOST_ROWS, max(1, BLOCK_NUMBERS // max(1, int(np.prod(shape)))))
    for start in range(0, number, rows):
        yield slice(start, min(start + rows, number))
