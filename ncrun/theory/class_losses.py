"""What a convex program must know of a loss: a sample of each class at its logits, with slopes, curvature and dual.

Column k of every (K, K) matrix belongs to class k.
"""

from dataclasses import dataclass

import numpy as np

from ncrun.losses import LOSSES
from ncrun.theory.prediction import Array

LARGEST_EXPONENT = 700.0  # an exponential beyond it overflows


@dataclass(frozen=True)
class ClassLosses:
    """values: (K,). errors: (K, K), the slopes. curvatures: (K, K, K), symmetric, the k-th that of class k."""

    values: Array
    errors: Array
    curvatures: Array


def class_losses(loss: str, scores: Array) -> ClassLosses:
    """loss: "ce" or "mse". scores: (K, K), logits with the bias."""
    K = len(scores)
    if loss == "mse":
        return ClassLosses(
            LOSSES[loss].on_class_means(scores), scores - np.eye(K), np.broadcast_to(np.eye(K), (K,) * 3)
        )
    assert loss == "ce"
    values, errors = cross_entropy(scores)
    p = errors.copy()
    np.fill_diagonal(p, 0)
    curvatures = -p.T[:, :, None] * p.T[:, None, :]
    own = np.exp(-values)
    each = np.arange(K)
    curvatures[each, each, :] = -own[:, None] * p.T
    curvatures[each, :, each] = -own[:, None] * p.T
    curvatures[:, each, each] = p.T * (1 - p.T)
    curvatures[each, each, each] = -own * np.diag(errors)
    return ClassLosses(values, errors, curvatures)


def cross_entropy(scores: Array) -> tuple[Array, Array]:
    """(K,) losses and (K, K) errors p_k - e_k, to a relative rounding error even where p_kk is 1 in floating point."""
    odds = np.exp(np.minimum(scores - np.diag(scores), LARGEST_EXPONENT))
    np.fill_diagonal(odds, 0)
    others = odds.sum(axis=0)
    np.fill_diagonal(odds, -others)
    return np.log1p(others), odds / (1 + others)


def dual_values(loss: str, errors: Array) -> Array:
    """(K,): the least of l_k(z) - <errors_k, z> over all z, a lower bound for any z; -inf where there is none.

    errors: (K, K), slopes. With cross-entropy they are those of probabilities p_k = errors_k + e_k, and this is their
    entropy.
    """
    if loss == "mse":
        return np.asarray(-(errors**2).sum(axis=0) / 2 - np.diag(errors))
    assert loss == "ce"
    others = errors.copy()
    np.fill_diagonal(others, 0)
    given_away = others.sum(axis=0)
    possible = (others.min(axis=0) >= 0) & (given_away < 1)
    entropies = -(others * np.log(np.where(others > 0, others, 1))).sum(axis=0)
    own = np.where(possible, given_away, 0)
    return np.asarray(np.where(possible, entropies - (1 - own) * np.log1p(-own), -np.inf))
