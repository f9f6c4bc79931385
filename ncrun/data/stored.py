"""A split that stays on the disk and is read a few samples at a time. Torch-free."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Numbers of a block of samples: 32 MB in float64.
BLOCK_NUMBERS = 2**22
MOST_ROWS = 1024


@dataclass(frozen=True)
class Stored(ABC):
    """Samples that another process can read, too: pickling it sends file names, not images.

    labels: (N,) int64. shape: (C, H, W) of a sample. dtype: of its numbers.
    """

    labels: NDArray[np.int64]
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]

    @abstractmethod
    def read(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """(B, C, H, W), the samples with these numbers. Raises UserError with the file and the problem."""

    def whole(self) -> NDArray[Any]:
        """(N, C, H, W)."""
        images = np.empty((len(self.labels), *self.shape), self.dtype)
        for part in blocks_of(len(images), self.shape):
            images[part] = self.read(np.arange(part.start, part.stop))
        return images


def blocks_of(number: int, shape: tuple[int, ...]) -> Iterator[slice]:
    """Consecutive parts of the samples, small enough for work in float64."""
    rows = min(MOST_ROWS, max(1, BLOCK_NUMBERS // max(1, int(np.prod(shape)))))
    for start in range(0, number, rows):
        yield slice(start, min(start + rows, number))
