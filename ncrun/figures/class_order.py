"""Orders the classes of a configuration so that its structure is visible; only permutations."""

import numpy as np
from numpy.typing import NDArray

from ncrun.figures.classes import Array, cosines

Order = NDArray[np.int64]
# Starts of the search for the best matching, which finds local optima.
STARTS = 10


def by_structure(gram: Array) -> Order:
    """(K,): an order with collinear classes beside each other, by optimal leaf ordering of a hierarchical clustering.
    gram: (K, K)."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    along = np.abs(np.nan_to_num(cosines(gram)))
    apart = 1 - (along + along.T) / 2
    np.fill_diagonal(apart, 0.0)
    tree = linkage(squareform(np.clip(apart, 0, 1), checks=False), "average", optimal_ordering=True)
    return np.asarray(leaves_list(tree), dtype=np.int64)


def matched(gram: Array, target: Array) -> Order:
    """(K,): the order in which a Gram matrix is nearest to another one, in the Frobenius norm of the cosines, found by
    a local search (scipy's quadratic_assignment from fixed starts)."""
    from scipy.optimize import quadratic_assignment

    ours, theirs = (np.nan_to_num(cosines(each)) for each in (gram, target))
    best, value = np.arange(len(ours)), -np.inf
    rng = np.random.default_rng(0)
    for start in range(STARTS):
        options = {"maximize": True, "rng": rng, **({} if start == 0 else {"P0": "randomized"})}
        rough = quadratic_assignment(theirs, ours, method="faq", options=options)
        guess = np.column_stack((np.arange(len(ours)), rough.col_ind))
        fine = quadratic_assignment(
            theirs, ours, method="2opt", options={"maximize": True, "rng": rng, "partial_guess": guess}
        )
        if fine.fun > value:
            best, value = np.asarray(fine.col_ind, dtype=np.int64), fine.fun
    return best
