"""A training or test split as it lies in memory, before it becomes tensors. Torch-free."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

HELD_OUT = 5  # of a data set without a test split, one sample in so many is kept for testing
BLOCK_ROWS = 1024


@dataclass(frozen=True)
class LabelledImages:
    """images: (N, C, H, W) uint8 (digits: 0..16) or floats. labels: (N,) int64; or (N, q) float64, targets of numbers
    in place of classes."""

    images: NDArray[Any]
    labels: NDArray[Any]

    @property
    def holds_targets(self) -> bool:
        """Whether there are targets in place of classes."""
        return self.labels.ndim == 2

    def where(self, chosen: NDArray[np.bool_]) -> "LabelledImages":
        """Some of the samples. chosen: (N,)."""
        return LabelledImages(self.images[chosen], self.labels[chosen])


def hold_out(whole: LabelledImages) -> tuple[LabelledImages, LabelledImages]:
    """A training and a test split: every fifth sample of each class, in the set's order, is kept for testing. Of
    targets in place of classes every fifth of all."""
    is_test = np.zeros(len(whole.labels), dtype=bool)
    if whole.holds_targets:
        is_test[HELD_OUT - 1 :: HELD_OUT] = True
        return whole.where(~is_test), whole.where(is_test)
    for k in np.unique(whole.labels):
        is_test[np.flatnonzero(whole.labels == k)[HELD_OUT - 1 :: HELD_OUT]] = True
    return whole.where(~is_test), whole.where(is_test)


def of_classes(split: LabelledImages, classes: Sequence[int] | None) -> LabelledImages:
    """The samples of some classes, labelled by their place in the list; None: all of them as they are."""
    if classes is None:
        return split
    place = np.full(max(*classes, int(split.labels.max(initial=0))) + 1, -1)
    place[list(classes)] = np.arange(len(classes))
    labels = place[split.labels]
    return LabelledImages(split.images[labels >= 0], labels[labels >= 0])


def channel_moments(images: NDArray[Any], largest: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of (N, C, H, W) images divided by `largest`, in float64.

    In two passes, because the one-pass variance is noise where the mean is large. A channel that is the same number
    throughout gets the deviation 1, and exactly that number as its mean, so that it becomes zero.
    """
    blocks = [images[start : start + BLOCK_ROWS] for start in range(0, len(images), BLOCK_ROWS)]
    per_channel = images.size // images.shape[1]
    mean = sum(block.sum(axis=(0, 2, 3), dtype=np.float64) for block in blocks) / per_channel
    lowest = images.min(axis=(0, 2, 3))
    constant = lowest == images.max(axis=(0, 2, 3))
    mean = np.where(constant, lowest, mean)
    deviations = (block - mean[:, None, None] for block in blocks)
    variance = sum(np.square(deviation).sum(axis=(0, 2, 3)) for deviation in deviations) / per_channel
    std = np.where(constant, largest, np.sqrt(variance))
    return tuple((mean / largest).tolist()), tuple((std / largest).tolist())
