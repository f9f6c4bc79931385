"""The largest stretching of non-negative vectors by a matrix: g*(A) = max { |A h| : h >= 0, |h| = 1 }.

It is the polar of the gauge g(X) = min { sum_i |w_i| |h_i| : X = sum_i w_i h_i^T, h_i >= 0 }, which replaces the
nuclear norm for features after a ReLU, and it certifies an optimum there.

Only the Gram matrix B = A^T A matters. Two columns are linked if their entry of B is positive. No maximiser needs
columns of two groups that are not linked, because entries between the groups only decrease h^T B h. So each group is
solved separately: by its first eigenvector if that has no negative entry (as for positive entries: Perron), else by
trying every support of at most LARGEST_TRIED columns (a maximiser is an eigenvector on its support). Larger groups are
only bounded: without negative entries B grows, and Perron applies.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ncrun.theory.prediction import Array

LARGEST_TRIED = 12  # columns of a group whose 4,095 supports are all tried
ASCENTS = 50  # steps of the local search in a larger group, from each of its columns


@dataclass(frozen=True)
class Polar:
    """value <= g*(A) <= bound; the two are equal except for large groups with mixed signs.

    directions: (m, K), unit and non-negative, the best of each group: where |A h| is largest.
    lengths: (m,), |A h| of each. groups: the columns of each.
    """

    value: float
    bound: float
    directions: Array
    lengths: Array
    groups: tuple[tuple[int, ...], ...]


def polar(A: Array) -> Polar:
    """A: (any, K), finite."""
    B = A.T @ A
    K = len(B)
    groups = linked_groups(B)
    directions, values, bounds = np.zeros((len(groups), K)), [], []
    for row, group in enumerate(groups):
        part = B[np.ix_(group, group)]
        vector, bound = _best(part)
        directions[row, group] = vector
        value = float(vector @ part @ vector)
        values.append(value)
        bounds.append(max(bound, value))
    lengths = np.sqrt(np.maximum(values, 0))
    return Polar(float(lengths.max()), float(np.sqrt(max(*bounds, 0.0))), directions, lengths, groups)


def linked_groups(B: Array, least: float = 0.0) -> tuple[tuple[int, ...], ...]:
    """The columns that are linked, directly or through others, by an entry of B above least times their norms."""
    from scipy.sparse.csgraph import connected_components  # a tenth of a second, which most predictions can do without

    norms = np.sqrt(np.maximum(np.diag(B), 0))
    number, of_column = connected_components(np.outer(norms, norms) * least < B, directed=False)
    return tuple(tuple(np.flatnonzero(of_column == each).tolist()) for each in range(number))


def _best(B: Array) -> tuple[Array, float]:
    """The unit h >= 0 with the largest h^T B h found, and an upper bound on it."""
    values, vectors = np.linalg.eigh(B)
    first = vectors[:, -1] * (1 if vectors[:, -1].sum() >= 0 else -1)
    if first.min() >= 0:
        return first, float(values[-1])
    if len(B) <= LARGEST_TRIED:
        best = _best_of_all_supports(B)
        return best, float(best @ B @ best)
    best = max((_ascent(B, start) for start in (*np.eye(len(B)), np.abs(first))), key=lambda h: float(h @ B @ h))
    kept = np.where(np.eye(len(B), dtype=bool), B, np.maximum(B, 0))
    return best, float(np.linalg.eigvalsh(kept)[-1])


def _best_of_all_supports(B: Array) -> Array:
    K = len(B)
    best, largest = np.eye(K)[int(np.diag(B).argmax())], float(np.diag(B).max())
    for size in range(2, K + 1):
        supports = np.array(list(combinations(range(K), size)))
        values, vectors = np.linalg.eigh(B[supports[:, :, None], supports[:, None, :]])
        top = vectors[:, :, -1]
        top = top * np.where(top.sum(axis=1) >= 0, 1, -1)[:, None]
        found = np.where(top.min(axis=1) >= 0, values[:, -1], -np.inf)
        if found.max() > largest:
            at = int(found.argmax())
            largest, best = float(found[at]), np.zeros(K)
            best[supports[at]] = top[at]
    return np.asarray(best)


def _ascent(B: Array, start: Array) -> Array:
    """Steps h <- (B h + shift h)_+, scaled to one: with B + shift I positive, none of them lowers h^T B h."""
    h, shift = start / np.linalg.norm(start), float(np.abs(B).sum(axis=1).max())
    for _ in range(ASCENTS):
        step = np.maximum(B @ h + shift * h, 0)
        h = step / np.linalg.norm(step)
    return np.asarray(h)
