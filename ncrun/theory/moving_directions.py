"""Weights and directions that move together: a local minimum of the factored problem with non-negative features.

    minimise over W (K x r), H (r x K) >= 0, b   data term(W H, b) + s/2 (|W|^2 + |H|^2) + lam_b/2 |b|^2.
Gradient steps first (L-BFGS-B), which find the region and the zeros of H; then Newton's method on the entries that are
not held at zero, because small decays make the problem stiff and exchangeable directions make it flat.
"""

import numpy as np

from ncrun.theory.atom_program import Atoms
from ncrun.theory.convex_problem import ConvexProblem
from ncrun.theory.prediction import Array

GRADIENT_STEPS = 300
NEWTON_STEPS = 40
FAINT = 1e-8  # directions with less than this share of the largest are dropped
SMALLEST_DAMPING, LARGEST_DAMPING = 1e-14, 1e6  # of the system's mean diagonal entry


def moved(problem: ConvexProblem, atoms: Atoms) -> Atoms:
    """A local minimum near these weights and directions."""
    from scipy.optimize import minimize  # this import takes a tenth of a second, and most predictions do not need it

    sizes = np.sqrt(np.linalg.norm(atoms.weights, axis=0))
    point = _Factors(problem, len(sizes))
    flat = point.flat(atoms.weights / sizes, atoms.directions * sizes[:, None], atoms.bias * problem.bias)
    free_sign = [(None, None)]
    signed = len(sizes) * len(problem.counts)
    bounds = free_sign * signed + [(0, None)] * signed + free_sign * len(problem.counts)
    options = {"maxiter": GRADIENT_STEPS, "maxfun": 2 * GRADIENT_STEPS, "ftol": 1e-16, "gtol": 1e-13, "maxcor": 40}
    flat = minimize(point.value_and_slope, flat, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
    W, H, bias = point.parts(_newton(point, flat))
    return _tidied(W, H, bias - bias.mean() if problem.blind_to_shifts else bias)


class _Factors:
    """The factored problem as a function of one flat vector: W, then H, then the bias."""

    def __init__(self, problem: ConvexProblem, r: int) -> None:
        self.problem, self.K, self.r = problem, len(problem.counts), r
        self.signed = slice(self.K * r, 2 * self.K * r)

    def flat(self, W: Array, H: Array, bias: Array) -> Array:
        return np.concatenate((W.ravel(), H.ravel(), bias))

    def parts(self, flat: Array) -> tuple[Array, Array, Array]:
        size = self.K * self.r
        return flat[:size].reshape(self.K, self.r), flat[self.signed].reshape(self.r, self.K), flat[2 * size :]

    def value_and_slope(self, flat: Array) -> tuple[float, Array]:
        problem = self.problem
        W, H, bias = self.parts(flat)
        losses = problem.losses(W @ H, bias)
        A = problem.slopes(losses.errors)
        value = problem.shares @ losses.values + problem.strength / 2 * (flat[: self.signed.stop] ** 2).sum()
        bias_slope = problem.bias_slope(losses.errors, bias) * problem.bias
        return float(value) + problem.bias_penalty(bias), self.flat(
            A @ H.T + problem.strength * W, W.T @ A + problem.strength * H, bias_slope
        )

    def curvature(self, flat: Array) -> Array:
        """(n, n): the second derivative."""
        problem, K, r = self.problem, self.K, self.r
        W, H, bias = self.parts(flat)
        losses = problem.losses(W @ H, bias)
        A, root = problem.slopes(losses.errors), problem.root
        each = np.arange(K)
        to_X = np.zeros((K, K, len(flat)))  # by class: what a change does to its column of X + b sqrt(n)^T
        to_W, to_H = to_X[:, :, : K * r].reshape(K, K, K, r), to_X[:, :, self.signed].reshape(K, K, r, K)
        to_W[:, each, each, :] = H.T[:, None, :]
        to_H[each, :, :, each] = W
        if problem.bias:
            to_X[:, each, self.signed.stop + each] = root[:, None]
        curvatures = losses.curvatures * (problem.shares / problem.counts)[:, None, None]
        result = np.tensordot(to_X, curvatures @ to_X, axes=((0, 1), (0, 1)))
        mixed = np.zeros((K, r, r, K))  # W and H meet in A
        mixed[:, np.arange(r), np.arange(r), :] = A[:, None, :]
        meeting = mixed.reshape(K * r, r * K)
        result[: K * r, self.signed] += meeting
        result[self.signed, : K * r] += meeting.T
        diagonal = np.arange(len(flat))
        result[diagonal, diagonal] += np.where(diagonal < self.signed.stop, problem.strength, problem.bias_decay)
        return np.asarray(result)


def _newton(point: _Factors, flat: Array) -> Array:
    """Damped steps on the entries that are not held at zero, each of which lowers the value."""
    from scipy.linalg import cho_factor, cho_solve

    value, slope = point.value_and_slope(flat)
    damping = 1e-6
    for _ in range(NEWTON_STEPS):
        free = np.ones(len(flat), dtype=bool)
        free[point.signed] = (flat[point.signed] > 0) | (slope[point.signed] < 0)
        if not point.problem.bias:
            free[point.signed.stop :] = False
        system = point.curvature(flat)[np.ix_(free, free)]
        typical = float(np.diag(system).mean())
        while damping <= LARGEST_DAMPING:
            try:
                factor = cho_factor(system + damping * typical * np.eye(len(system)))
            except np.linalg.LinAlgError:
                damping = max(10 * damping, SMALLEST_DAMPING)
                continue
            trial = flat.copy()
            trial[free] -= cho_solve(factor, slope[free])
            trial[point.signed] = np.maximum(trial[point.signed], 0)
            lower, following = point.value_and_slope(trial)
            if lower < value:
                break
            damping = max(10 * damping, SMALLEST_DAMPING)
        else:
            break
        gained = value - lower
        flat, value, slope, damping = trial, lower, following, damping / 10
        if gained <= 1e-16 * value:
            break
    return flat


def _tidied(W: Array, H: Array, bias: Array) -> Atoms:
    """Unit directions, without those of almost zero weight."""
    lengths = np.linalg.norm(H, axis=1)
    weights = np.linalg.norm(W, axis=0) * lengths
    kept = weights > FAINT * weights.max()
    H = H[kept] / lengths[kept, None]
    H = np.where(H < FAINT, 0, H)
    return Atoms(W[:, kept] * lengths[kept], H / np.linalg.norm(H, axis=1)[:, None], bias)
