"""A training or test split in memory, before it becomes tensors. Torch-free."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

HELD_OUT = 5  # without a test split, one sample in this many becomes a test sample


@dataclass(frozen=True)
class LabelledImages:
    """images: (N, C, H, W) uint8 (digits: 0..16) or floats. labels: (N,) int64; or targets, (N, q) float64."""

    images: NDArray[Any]
    labels: NDArray[Any]

    @property
    def holds_targets(self) -> bool:
        """Whether labels are targets."""
        return self.labels.ndim == 2

    def where(self, chosen: NDArray[np.bool_]) -> "LabelledImages":
        """Some of the samples. chosen: (N,)."""
        return LabelledImages(self.images[chosen], self.labels[chosen])


def held_out(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """(N,), the test samples of a data set without a test split: every fifth of each class, in the set's order. With
    targets, (N, q), every fifth of all samples."""
    is_test = np.zeros(len(labels), dtype=bool)
    if labels.ndim == 2:
        is_test[HELD_OUT - 1 :: HELD_OUT] = True
        return is_test
    for k in np.unique(labels):
        is_test[np.flatnonzero(labels == k)[HELD_OUT - 1 :: HELD_OUT]] = True
    return is_test


def hold_out(whole: LabelledImages) -> tuple[LabelledImages, LabelledImages]:
    """A training and a test split."""
    is_test = held_out(whole.labels)
    return whole.where(~is_test), whole.where(is_test)


def of_classes(labels: NDArray[np.int64], classes: Sequence[int] | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The numbers of the samples of some classes, and their labels by the class' place in the list; None: all samples
    and labels unchanged. labels: (N,)."""
    if classes is None:
        return np.arange(len(labels)), labels
    place = np.full(max(*classes, int(labels.max(initial=0))) + 1, -1)
    place[list(classes)] = np.arange(len(classes))
    placed = place[labels]
    rows = np.flatnonzero(placed >= 0)
    return rows, placed[rows]
