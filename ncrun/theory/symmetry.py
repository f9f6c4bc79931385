"""Classes of equal counts and weights are equal at every unique optimum: they must not differ in any bit.

A problem does not change when such classes change places, so a unique optimum does not either. Floating-point results
do, by rounding, and a comparison with zero would then give different answers for identical classes.
"""

import numpy as np
from numpy.typing import NDArray

from ncrun.problem import Problem

Array = NDArray[np.float64]


def kinds_of(problem: Problem) -> Array:
    """(K,): numbers that are equal for two classes if and only if their counts and weights are equal."""
    if not problem.class_weights:
        return np.asarray(problem.counts, dtype=float)
    pairs = np.column_stack((problem.counts, problem.class_weights))
    return np.unique(pairs, axis=0, return_inverse=True)[1].ravel().astype(float)


def alike_by_class(vector: Array, kinds: Array) -> Array:
    """(K,): for each class the value of the first class of its kind. kinds: (K,), as kinds_of says."""
    _, members, of_class = np.unique(kinds, return_index=True, return_inverse=True)
    return np.asarray(vector[members][of_class])
