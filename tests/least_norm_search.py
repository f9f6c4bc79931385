"""An independent optimiser of what vanishing decay leaves: the least norm of one layer with a bias on features >= 0.

    minimise |W|^2/2 + |H|^2/2 over W (K x d), H (d x K) >= 0, b, the scores being W H / sqrt(n) + b:
all margins at least one (cross-entropy), or the scores equal to the labels (squared loss). It knows nothing of the
theorems.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Array = NDArray[np.float64]

MISSED = 1e-9  # of a margin or a score: a descent that ended farther from the constraints is left out


@dataclass(frozen=True)
class LeastNorm:
    """value: the norm found, in one of so many starts. W: (K, d). H: (d, K), the class means times sqrt n."""

    value: float
    W: Array
    H: Array
    starts: int


def search(loss: str, counts: Array, rng: np.random.Generator, starts: int = 4) -> LeastNorm:
    """The best of descents (SLSQP) from random starts, with two features more than classes. loss: "ce" or "mse"."""
    found = [_descend(loss, counts, rng) for _ in range(starts)]
    value, W, H = min((each for each, missed in found if missed < MISSED), key=lambda each: each[0])
    return LeastNorm(value, W, H, starts)


def _descend(loss: str, counts: Array, rng: np.random.Generator) -> tuple[tuple[float, Array, Array], float]:
    """Value, W, H; and how far from the constraints they are."""
    K, root = len(counts), np.sqrt(counts)
    d = K + 2
    others = ~np.eye(K, dtype=bool)

    def parts(x: Array) -> tuple[Array, Array, Array]:
        return x[: K * d].reshape(K, d), x[K * d : 2 * K * d].reshape(d, K), x[2 * K * d :]

    def norm(x: Array) -> tuple[float, Array]:
        slope = x.copy()
        slope[2 * K * d :] = 0
        return float(slope @ slope) / 2, slope

    def scores(x: Array) -> Array:
        W, H, b = parts(x)
        return np.asarray(W @ H / root + b[:, None])

    def of_scores(x: Array) -> Array:
        """(K^2, n): the derivative."""
        W, H, _ = parts(x)
        by_W = np.einsum("ac,ik->akci", np.eye(K), H / root).reshape(K * K, K * d)
        by_H = np.einsum("kl,ai->akil", np.diag(1 / root), W).reshape(K * K, K * d)
        by_b = np.einsum("ac,k->akc", np.eye(K), np.ones(K)).reshape(K * K, K)
        return np.hstack((by_W, by_H, by_b))

    own = np.einsum("j,kl,ck->jkcl", np.ones(K), np.eye(K), np.eye(K)).reshape(K * K, K * K)
    margins = (own - np.eye(K * K))[others.ravel()]  # of the scores, row by row

    if loss == "ce":
        constraint = {
            "type": "ineq",
            "fun": lambda x: margins @ scores(x).ravel() - 1,
            "jac": lambda x: margins @ of_scores(x),
        }
    else:
        constraint = {"type": "eq", "fun": lambda x: (scores(x) - np.eye(K)).ravel(), "jac": of_scores}
    start = np.concatenate((rng.standard_normal(K * d), np.abs(rng.standard_normal(K * d)), np.zeros(K)))
    bounds = [(None, None)] * (K * d) + [(0, None)] * (K * d) + [(None, None)] * K
    options = {"maxiter": 600, "ftol": 1e-14}
    done = minimize(norm, start, jac=True, bounds=bounds, constraints=[constraint], method="SLSQP", options=options)
    W, H, _ = parts(done.x)
    left = constraint["fun"](done.x)
    missed = float(np.maximum(-left, 0).max() if loss == "ce" else np.abs(left).max())
    return (float(done.fun), W, H), missed
