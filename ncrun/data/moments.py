"""Mean and standard deviation of each channel of a training split, for normalising its images. Torch-free."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Each call iterates over the whole split in order, (B, C, H, W) images at a time.
Blocks = Callable[[], Iterator[NDArray[Any]]]


@dataclass(frozen=True)
class Moments:
    """By channel, for images divided by the largest possible value of a pixel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def channel_moments(blocks: Blocks, dtype: np.dtype[Any], largest: float) -> Moments:
    """In float64. dtype: of the images. A constant channel gets deviation 1 and exactly its value as the mean, so that
    it becomes zero."""
    mean, variance = _of_whole_numbers(blocks) if dtype == np.uint8 else _of_floats(blocks)
    std = np.where(variance == 0, largest, np.sqrt(variance))
    return Moments(tuple((mean / largest).tolist()), tuple((std / largest).tolist()))


def _of_whole_numbers(blocks: Blocks) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """In one pass. Its sums are integers, so they do not depend on the blocks: N H W up to 10^14."""
    number, sums, squares = 0, 0, 0
    for block in blocks():
        number += block.size // block.shape[1]
        sums = sums + block.sum(axis=(0, 2, 3), dtype=np.int64)
        squares = squares + np.square(block, dtype=np.int64).sum(axis=(0, 2, 3))
    # Python's integers cannot overflow.
    pairs = list(zip(np.asarray(sums).tolist(), np.asarray(squares).tolist(), strict=True))
    mean = np.array([total / number for total, _ in pairs])
    return mean, np.array([(number * square - total**2) / number**2 for total, square in pairs])


def _of_floats(blocks: Blocks) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """In two passes, because the one-pass variance is noise if the mean is large."""
    number: int = 0
    sums: Any = 0.0
    lowest: Any = np.inf
    highest: Any = -np.inf
    for block in blocks():
        number += block.size // block.shape[1]
        sums = sums + block.sum(axis=(0, 2, 3), dtype=np.float64)
        lowest = np.minimum(lowest, block.min(axis=(0, 2, 3)))
        highest = np.maximum(highest, block.max(axis=(0, 2, 3)))
    mean = np.where(lowest == highest, lowest, sums / number)
    deviations = (block - mean[:, None, None] for block in blocks())
    return mean, sum(np.square(deviation).sum(axis=(0, 2, 3)) for deviation in deviations) / number
