"""Which samples of a training set a run takes."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def choose_indices(labels: NDArray[np.int64], counts: Sequence[int], subset: str, seed: int) -> NDArray[np.int64]:
    """Sorted indices of counts[k] samples of each class k.

    subset "first" takes the first ones in the data set's order, as the papers' released code does; "seed" draws them
    without replacement, from the seed alone.
    """
    rng = np.random.default_rng([seed, 2])
    chosen = []
    for k, count in enumerate(counts):
        members = np.flatnonzero(labels == k)
        chosen.append(members[:count] if subset == "first" else rng.choice(members, size=count, replace=False))
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def shuffled_labels(labels: NDArray[np.int64], share: float, seed: int) -> NDArray[np.int64]:
    """The labels with that share of them, drawn from the seed, dealt out anew among themselves.

    A permutation rather than independent draws, so that every class keeps its count, on which the theory depends.
    """
    rng = np.random.default_rng([seed, 3])
    chosen = np.sort(rng.permutation(len(labels))[: round(share * len(labels))])
    dealt = labels.copy()
    dealt[chosen] = rng.permutation(labels[chosen])
    return dealt


def indices_hash(indices: NDArray[np.int64]) -> str:
    """SHA-256 of the indices as little-endian 64-bit integers: two runs with equal hashes saw the same samples."""
    return hashlib.sha256(indices.astype("<i8").tobytes()).hexdigest()
