"""Distances between matrices after division by their Frobenius norm. NumPy float64; K x K matrices are read a few rows
at a time."""

import math

import numpy as np
from numpy.typing import NDArray

from ncrun.metrics.tiles import Moved, Product, Rows, Simplex, parts_of
from ncrun.theory import Prediction
from ncrun.theory.prediction import Tie

Array = NDArray[np.float64]


def normalised(matrix: Array) -> Array | None:
    """N(A) = A / ||A||_F, or None for a matrix that is zero or not finite."""
    size = _size(matrix)
    return None if size is None else _scaled(matrix, *size)


def shape_distance(measured: Rows, target: Rows) -> float | None:
    """||N(measured) - N(target)||_F, between 0 and 2; None if either is zero or not finite. Both have the same size,
    and are arrays or give their rows."""
    first, second = _size(measured), _size(target)
    if first is None or second is None:
        return None
    total = 0.0
    for part in parts_of(measured):
        apart = _scaled(measured[part], *first)
        apart -= _scaled(target[part], *second)
        total += float(np.vdot(apart, apart))
    return math.sqrt(total)


def _size(matrix: Rows) -> tuple[int, float] | None:
    """e and ||A / 2^e||_F, with all of A / 2^e below 1, or None for a matrix that is zero or not finite."""
    exponent, total = None, 0.0
    for part in parts_of(matrix):
        tile = matrix[part]
        largest = float(np.abs(tile).max())
        if not np.isfinite(largest):
            return None
        if largest == 0:
            continue
        own = int(np.frexp(largest)[1])
        if exponent is None:
            exponent = own
        elif own > exponent:
            total, exponent = math.ldexp(total, 2 * (exponent - own)), own
        tile = np.ldexp(tile, -exponent)
        total += float(np.vdot(tile, tile))
    return None if exponent is None else (exponent, math.sqrt(total))


def _scaled(tile: Array, exponent: int, size: float) -> Array:
    # Division by a power of two is exact, and then no square overflows.
    return np.asarray(np.ldexp(tile, -exponent) / size)


def etf_distance(vectors: Array) -> float | None:
    """Distance of the Gram matrix of vectors, (K, d), to the simplex ETF, both centred by the unweighted mean.

    The vectors are centred, not their Gram matrix, in which an offset would cost twice the digits."""
    unit = normalised(vectors)
    if unit is None:
        return None
    centred = unit - unit.mean(axis=0)
    if np.linalg.norm(centred) <= len(unit) * np.finfo(float).eps:
        return None  # all vectors equal: the rest is rounding
    return shape_distance(Product(centred, centred), Simplex(len(unit)))


def target_distances(
    geometry: Prediction, layer: int, weights: Array, means: Array
) -> tuple[float | None, float | None, float | None]:
    """nc2_w, nc2_h and nc3 of one head layer (0: the whole head) against a prediction: the distances of W W^T,
    Hbar^T Hbar and W Hbar. weights: (K, d), W. means: (K, d), the rows of Hbar^T.

    If several optima exist because of a bottleneck, each is the distance to the nearest optimum. All None where theory
    predicts nothing or zero.
    """
    if not geometry.layers or geometry.class_logits is None:
        return None, None, None
    target, tie = geometry.layers[layer], geometry.tie
    moved = (0.0,) * 3 if tie is None else (tie.weight_values[layer], tie.feature_values[layer], tie.logit_value)
    return (
        _nearest_distance(Product(weights, weights), target.weights, tie, moved[0]),
        _nearest_distance(Product(means, means), target.features, tie, moved[1]),
        _nearest_distance(Product(weights, means), geometry.class_logits, tie, moved[2]),
    )


def _nearest_distance(measured: Product, fixed: Rows, tie: Tie | None, value: float) -> float | None:
    return shape_distance(measured, fixed if tie is None else Moved(fixed, value, _nearest(measured, tie)))


def _nearest(measured: Product, tie: Tie) -> Array:
    """(K, rank): the directions inside the span of the tie whose projection has the largest inner product with the
    measured matrix.

    All optima have the same norm, so the largest inner product gives the smallest distance. The measured matrix has
    rank d: its eigenvectors lie in the span of its factors, and `rank` more columns cover its null space.
    """
    left, right = tie.inside(measured.left), tie.inside(measured.right)
    more = np.eye(len(left), tie.rank)
    span = np.linalg.qr(np.hstack((left, right, more)))[0]
    product = (span.T @ left) @ (right.T @ span)
    vectors = np.linalg.eigh((product + product.T) / 2)[1][:, -tie.rank :]
    return tie.outside(span @ vectors)
