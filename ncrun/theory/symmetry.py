"""Classes of equal counts are alike at every optimum that is unique: no two of them may differ in a bit.

A problem does not change when classes of one size change places; so a unique optimum does not either. What floating
point computes does by a rounding, which a comparison with zero turns into different answers for identical classes.
"""

import numpy as np

from ncrun.theory.prediction import Array


def alike(matrix: Array, counts: Array) -> Array:
    """The mean over all exchanges of classes of equal counts, equal in every bit where it has to be.

    matrix: (K, K), rows and columns belong to classes. counts: (K,).
    """
    sizes, of_class = np.unique(counts, return_inverse=True)
    if len(sizes) == len(counts):
        return matrix
    own = np.eye(len(counts), dtype=np.int64)
    kind = (2 * (of_class[:, None] * len(sizes) + of_class) + own).ravel()
    entries = np.bincount(kind)
    means = np.bincount(kind, weights=matrix.ravel()) / np.maximum(entries, 1)
    return np.asarray(means[kind].reshape(matrix.shape))


def alike_by_class(vector: Array, counts: Array) -> Array:
    """The same for (K,): of each size the value of its first class."""
    _, members, of_class = np.unique(counts, return_index=True, return_inverse=True)
    return np.asarray(vector[members][of_class])
