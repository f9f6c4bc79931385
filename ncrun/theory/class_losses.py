"""A loss for convex programs: the loss of one sample of each class at its logits, with slopes, curvature and dual.

Column k of every (K, K) matrix belongs to class k. Class weights are not included: a weight multiplies the share of its
class in the samples. Cross-entropy with smoothing d and offsets o has, with q_k = (1 - d) e_k + d/K and p the softmax
of z + o,
    l_k(z) = log sum exp(z + o) - <q_k, z + o>,      slopes p - q_k,      curvature diag p - p p^T,
    min_z l_k(z) - <e, z> = Entropy(q_k + e) + <e, o>.
"""

from dataclasses import dataclass

import numpy as np

from ncrun.losses import CrossEntropy, Loss, SquaredLoss
from ncrun.theory.exchangeable import Entries, Kinds
from ncrun.theory.prediction import Array

LARGEST_EXPONENT = 700.0  # an exponential beyond it overflows


@dataclass(frozen=True)
class ClassLosses:
    """values: (K,). errors: (K, K), the slopes. curvatures: (K, K, K), symmetric, the k-th that of class k."""

    values: Array
    errors: Array
    curvatures: Array


def class_losses(loss: Loss, scores: Array) -> ClassLosses:
    """loss: a squared loss or a cross-entropy, without class weights. scores: (K, K), logits with the bias."""
    K = len(scores)
    if isinstance(loss, SquaredLoss):
        return ClassLosses(loss.on_class_means(scores), scores - np.eye(K), np.broadcast_to(np.eye(K), (K,) * 3))
    assert isinstance(loss, CrossEntropy)
    values, errors = cross_entropy(loss, scores)
    p = errors + loss.label_smoothing / K
    np.fill_diagonal(p, 0)
    own = 1 - p.sum(axis=0) if loss.label_smoothing else np.exp(-values)
    curvatures = -p.T[:, :, None] * p.T[:, None, :]
    each = np.arange(K)
    curvatures[each, each, :] = -own[:, None] * p.T
    curvatures[each, :, each] = -own[:, None] * p.T
    curvatures[:, each, each] = p.T * (1 - p.T)
    curvatures[each, each, each] = own * p.sum(axis=0)
    return ClassLosses(values, errors, curvatures)


def cross_entropy(loss: CrossEntropy, scores: Array) -> tuple[Array, Array]:
    """(K,) losses and (K, K) errors p_k - q_k; without smoothing to a relative rounding error even where p_kk is 1 in
    floating point."""
    values, errors = cross_entropy_of_kinds(loss, Entries.of(scores), Kinds(np.arange(len(scores))))
    np.fill_diagonal(errors.off, errors.own)
    return values, errors.off


def cross_entropy_of_kinds(loss: CrossEntropy, scores: Entries, kinds: Kinds) -> tuple[Array, Entries]:
    """The same for G kinds of classes: (G,) losses, and errors. loss: with the offsets of the kinds, (G,)."""
    smoothing, K = loss.label_smoothing, len(kinds.of_class)
    off, own = scores.off, scores.own
    if loss.offsets:
        off, own = off + np.asarray(loss.offsets)[:, None], own + np.asarray(loss.offsets)
    relative = off - own
    beyond = np.maximum(np.where(kinds.others > 0, relative, 0).max(axis=0) - LARGEST_EXPONENT, 0)
    odds, own_odds = np.exp(np.minimum(relative - beyond, LARGEST_EXPONENT)), np.exp(-beyond)
    others = (kinds.others * odds).sum(axis=0)
    values, errors = np.log1p(others + (own_odds - 1)) + beyond, odds / (own_odds + others)
    if smoothing:
        values = values - smoothing * (kinds.others * relative).sum(axis=0) / K
        errors -= smoothing / K
    return values, Entries(errors, -(kinds.others * errors).sum(axis=0))


def dual_values(loss: Loss, errors: Array) -> Array:
    """(K,): the minimum of l_k(z) - <errors_k, z> over all z, a lower bound for any z; -inf if there is none.

    errors: (K, K), slopes. With cross-entropy they are those of probabilities p_k = errors_k + q_k, and this is their
    entropy, plus <errors_k, offsets>.
    """
    if isinstance(loss, SquaredLoss):
        return np.asarray(-(errors**2).sum(axis=0) / 2 - np.diag(errors))
    assert isinstance(loss, CrossEntropy)
    return dual_values_of_kinds(loss, Entries.of(errors), Kinds(np.arange(len(errors))))


def dual_values_of_kinds(loss: CrossEntropy, errors: Entries, kinds: Kinds) -> Array:
    """The same for G kinds of classes, (G,). loss: with the offsets of the kinds, (G,)."""
    p = np.where(kinds.others > 0, errors.off + loss.label_smoothing / len(kinds.of_class), 0)
    given_away = (kinds.others * p).sum(axis=0)
    possible = (p.min(axis=0) >= 0) & (given_away < 1)
    entropies = -(kinds.others * p * np.log(np.where(p > 0, p, 1))).sum(axis=0)
    own = np.where(possible, given_away, 0)
    values = entropies - (1 - own) * np.log1p(-own)
    if loss.offsets:
        values = values + np.asarray(loss.offsets) @ kinds.sums(errors)
    return np.asarray(np.where(possible, values, -np.inf))
