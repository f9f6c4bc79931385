"""Distances between shapes: matrices are compared after division by their Frobenius norm. K x K, numpy float64."""

import numpy as np
from numpy.typing import NDArray

from ncrun.theory import Prediction

Array = NDArray[np.float64]


def normalised(matrix: Array) -> Array | None:
    """N(A) = A / ||A||_F, or None for a matrix without a shape (zero or not finite)."""
    largest = float(np.abs(matrix).max())
    if largest == 0 or not np.isfinite(largest):
        return None
    matrix = np.ldexp(matrix, -int(np.frexp(largest)[1]))  # a power of two: exact, and no square leaves the floats
    return np.asarray(matrix / np.linalg.norm(matrix))


def shape_distance(measured: Array, target: Array) -> float | None:
    """||N(measured) - N(target)||_F, between 0 and 2; None if either has no shape."""
    first, second = normalised(measured), normalised(target)
    return None if first is None or second is None else float(np.linalg.norm(first - second))


def simplex(num_classes: int) -> Array:
    """The Gram matrix of a simplex equiangular tight frame, I - 11^T/K."""
    return np.eye(num_classes) - 1 / num_classes


def etf_distance(vectors: Array) -> float | None:
    """Distance of the Gram matrix of vectors, (K, d), to the simplex ETF, both centred by the unweighted mean.

    The vectors are centred, not their Gram matrix: there an offset would cost twice the digits."""
    unit = normalised(vectors)
    if unit is None:
        return None
    centred = unit - unit.mean(axis=0)
    if np.linalg.norm(centred) <= len(unit) * np.finfo(float).eps:
        return None  # all classes alike: what is left is rounding
    return shape_distance(centred @ centred.T, simplex(len(unit)))


def target_distances(
    geometry: Prediction, layer: int, weight_gram: Array, feature_gram: Array, product: Array
) -> tuple[float | None, float | None, float | None]:
    """nc2_w, nc2_h and nc3 of the measured K x K matrices of one head layer (0: the whole head) against a prediction.

    Where a bottleneck leaves the optimum a choice, each is the distance to the nearest member of the optimal family.
    All None where theory predicts nothing or zero.
    """
    if not geometry.layers or geometry.logits is None:
        return None, None, None
    target, tie = geometry.layers[layer], geometry.tie
    if tie is None:
        return (
            shape_distance(weight_gram, target.weight_gram),
            shape_distance(feature_gram, target.feature_gram),
            shape_distance(product, geometry.logits),
        )
    nearest_w = target.weight_gram + tie.weight_values[layer] * _nearest(weight_gram, tie.basis, tie.rank)
    nearest_h = target.feature_gram + tie.feature_values[layer] * _nearest(feature_gram, tie.basis, tie.rank)
    nearest_z = geometry.logits + tie.logit_value * _nearest(product, tie.basis, tie.rank)
    return (
        shape_distance(weight_gram, nearest_w),
        shape_distance(feature_gram, nearest_h),
        shape_distance(product, nearest_z),
    )


def _nearest(measured: Array, basis: Array, rank: int) -> Array:
    """The rank-`rank` projection inside the basis' span with the largest inner product with the measured matrix.

    All members of the family have the same norm, so the largest inner product is the smallest distance.
    """
    inside = basis.T @ ((measured + measured.T) / 2) @ basis
    vectors = np.linalg.eigh(inside)[1][:, -rank:]
    return np.asarray(basis @ vectors @ vectors.T @ basis.T)
