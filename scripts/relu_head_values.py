"""A ReLU head of K classes and depth L, given by its factors: its outputs, its value, and the nearest minimum.

The objective, K classes of one sample each (any n follows, see ncrun/theory/witnesses.py), all decays equal to lam:
    || W_L relu(W_{L-1} .. relu(W_1 H)) - I ||^2 / (2K) + lam/2 * (||H||^2 + sum_l ||W_l||^2),    Lam = lam^(L+1).
Decays are given as Lam / Lam_glob, where Lam_glob is the one at which deep neural collapse equals the zero solution.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from ncrun.theory.squared_loss import kept_fraction

Array = NDArray[np.float64]
Factors = list[Array]  # H (d, K), W_1 (d_1, d), .., W_L (K, d_{L-1})
Head = tuple[int, int]  # K, L

# share of the value for every stored number, so that of equal configurations the smaller one is kept
SIZE_PENALTY = 3e-7
DEAD = 1e-6  # share of a layer's strongest neuron, in weight in times weight out, below which a neuron is dropped
PARALLEL = 1 - 1e-5  # cosine above which two neurons are one


def decay_product(head: Head, ratio: float) -> float:
    """Lam from Lam / Lam_glob, Lam_glob = (L-1)^(L-1) / (K^(L+1) L^(2L))."""
    classes, depth = head
    return float(ratio * (depth - 1) ** (depth - 1) / (classes ** (depth + 1) * depth ** (2.0 * depth)))


def activations(factors: Factors) -> Iterator[Array]:
    """H, the hidden layers after their ReLU, and the outputs (K, K)."""
    signal = factors[0]
    yield signal
    for weight in factors[1:-1]:
        signal = np.maximum(weight @ signal, 0)
        yield signal
    yield factors[-1] @ signal


def outputs_of(factors: Factors) -> Array:
    """O, (K, K)."""
    *_, outputs = activations(factors)
    return outputs


def summary(factors: Factors) -> tuple[float, float, float]:
    """P, tr(O) and ||O||^2, see ncrun/theory/witnesses.py."""
    outputs = outputs_of(factors)
    return float(np.prod([np.sum(factor**2) for factor in factors])), np.trace(outputs), np.sum(outputs**2)


def best_scale(head: Head, ratio: float, cost: float, trace: float, norm_sq: float) -> tuple[float, float]:
    """The minimising a and the minimum of ||a O - I||^2 / (2K) + (L+1)/2 (Lam P)^(1/(L+1)) a^(2/(L+1))."""
    classes, depth = head
    if trace <= 0:
        return 0.0, 0.5
    largest = trace / norm_sq
    decay = (decay_product(head, ratio) * cost) ** (1 / (depth + 1))
    kappa = classes / norm_sq * decay * largest ** (-2 * depth / (depth + 1))
    scale = largest * float(kept_fraction(np.array(kappa), depth))
    misfit = (scale**2 * norm_sq - 2 * scale * trace + classes) / (2 * classes)
    return scale, float(misfit + (depth + 1) / 2 * decay * scale ** (2 / (depth + 1)))


def value_of(head: Head, ratio: float, factors: Factors) -> float:
    """The value of a configuration after the best rescaling."""
    return best_scale(head, ratio, *summary(factors))[1]


def score(head: Head, ratio: float, factors: Factors) -> float:
    """The quantity that the search minimises: the value, with a slight preference for few numbers."""
    return value_of(head, ratio, factors) * (1 + SIZE_PENALTY * sum(factor.size for factor in factors))


def collapse_value(head: Head, ratio: float) -> float:
    """Deep neural collapse: O = I, P = K^(L+1)."""
    classes, depth = head
    return best_scale(head, ratio, float(classes) ** (depth + 1), classes, classes)[1]


def known_value(head: Head, ratio: float) -> float:
    """The lower of deep neural collapse and, for K = r (r-1)/2, the strongly regular graph."""
    classes, depth = head
    value = collapse_value(head, ratio)
    for nodes in range(4, classes):
        if nodes * (nodes - 1) == 2 * classes:
            readout = np.sqrt(2 * (nodes - 1)) + (nodes - 1) * np.sqrt(nodes - 2)
            cost = readout**2 * nodes ** (depth - 2) * classes**2 / 4
            value = min(value, best_scale(head, ratio, float(cost), classes, classes)[1])
    return value


def balanced(head: Head, ratio: float, factors: Factors) -> Factors:
    """The same configuration at its best scale, all factors of one norm."""
    cost, trace, norm_sq = summary(factors)
    scale = best_scale(head, ratio, cost, trace, norm_sq)[0] or 1 / np.sqrt(norm_sq)
    norm = (np.sqrt(cost) * scale) ** (1 / len(factors))
    return [factor * (norm / np.linalg.norm(factor)) for factor in factors]


def minimise(head: Head, ratio: float, start: Factors, iterations: int) -> Factors:
    """L-BFGS on the objective from a start."""
    classes, depth = head
    decay = decay_product(head, ratio) ** (1 / (depth + 1))
    shapes = [factor.shape for factor in start]
    ends = np.cumsum([factor.size for factor in start])
    target = np.eye(classes)

    def unpack(flat: Array) -> Factors:
        return [part.reshape(shape) for part, shape in zip(np.split(flat, ends[:-1]), shapes, strict=True)]

    def objective(flat: Array) -> tuple[float, Array]:
        factors = unpack(flat)
        signals = list(activations(factors))
        residual = signals[-1] - target
        gradient, back = decay * flat, residual / classes
        views = unpack(gradient)
        for layer in range(depth, 0, -1):
            views[layer] += back @ signals[layer - 1].T
            back = factors[layer].T @ back
            if layer > 1:
                back *= signals[layer - 1] > 0
        views[0] += back
        return float(np.sum(residual**2) / (2 * classes) + decay / 2 * (flat @ flat)), gradient

    options = {"maxiter": iterations, "maxfun": 2 * iterations, "maxcor": 20, "ftol": 1e-10, "gtol": 1e-9}
    flat = np.concatenate([factor.ravel() for factor in start])
    found: Array = minimize(objective, flat, jac=True, method="L-BFGS-B", options=options).x
    return unpack(found)


def compressed(factors: Factors, dead: float = DEAD, parallel: float = PARALLEL) -> Factors:
    """Removes dead neurons, merges neurons with parallel inputs, and reduces H to the dimensions that it needs.

    Merging replaces c_i relu(w x) with outgoing weights v_i by ||c|| relu(w x) with sum_i c_i v_i / ||c||, whose norm
    is at most that of all v_i together, so no norm grows.
    """
    factors = list(factors)
    for layer in range(1, len(factors) - 1):
        inward, outward = factors[layer], factors[layer + 1]
        strength = np.linalg.norm(inward, axis=1) * np.linalg.norm(outward, axis=0)
        alive = strength > dead * strength.max()
        alive &= [bool(np.any(signal > 0)) for signal in list(activations(factors))[layer]]
        factors[layer], factors[layer + 1] = merged(inward[alive], outward[:, alive], parallel)
    left, values, right = np.linalg.svd(factors[1] @ factors[0], full_matrices=False)
    rank = int(np.sum(values > dead * values[0]))
    root = np.sqrt(values[:rank])
    return [root[:, None] * right[:rank], left[:, :rank] * root, *factors[2:]]


def merged(inward: Array, outward: Array, parallel: float) -> tuple[Array, Array]:
    """Merges neurons with parallel rows of `inward`, and the columns of `outward` accordingly."""
    lengths = np.linalg.norm(inward, axis=1)
    cosines = inward @ inward.T / np.outer(lengths, lengths)
    free = np.ones(len(lengths), dtype=bool)
    rows, columns = [], []
    for i in range(len(lengths)):
        group = free & (cosines[i] > parallel)
        if not free[i]:
            continue
        free &= ~group
        length = np.linalg.norm(lengths[group])
        rows.append(inward[i] / lengths[i] * length)
        columns.append(outward[:, group] @ lengths[group] / length)
    return np.array(rows), np.array(columns).T
