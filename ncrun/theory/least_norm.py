"""The limit of features after a ReLU and one layer with a bias as all decay vanishes: the labels at the least norm.

    minimise over X (K x K), b (K)   g(X)   subject to   X + b sqrt(n)^T = D,     D = diag(sqrt n_k),
with the gauge g of polar.py. Any L with g*(L) <= 1 and L sqrt(n) = 0 bounds it from below by -<L, D>. Derivation, and
why cross-entropy has the same limit: docs/proofs.md.

First one direction per class: b is then the point with the least sum_k sqrt n_k |e_k - b|, the geometric median of the
labels. It is the optimum if no two labels form an acute angle at this point. Otherwise the squared loss at a small
decay shows which classes share which directions, and Newton's method on the optimality conditions finds the limit.
"""

from dataclasses import dataclass

import numpy as np

from ncrun.losses import LOSSES
from ncrun.theory.atom_program import Atoms
from ncrun.theory.convex_problem import ConvexProblem
from ncrun.theory.gauge_program import GaugeSolution, solve
from ncrun.theory.polar import polar
from ncrun.theory.prediction import Array

TOLERANCE = 1e-9  # of the least norm, between value and bound
STARTS = (1e-1, 1e-2, 1e-3)  # decays, relative to that at which the smallest class alone would be lost
MOST_STEPS = 30
ROUNDING = 1e-12  # relative to sqrt n: residual of the conditions


def least_norm(counts: Array, with_sharing: bool = True) -> GaugeSolution:
    """The optimum, with L as its slopes, or the nearest point found: see `is_found`.

    counts: (K,). with_sharing: if false, only one direction per class is tried, with K^3 operations per step.
    """
    solution = _own_directions(counts)
    for start in STARTS if with_sharing else ():
        if is_found(solution):
            break
        solution = _shared_directions(counts, start)
    return solution


def is_found(solution: GaugeSolution) -> bool:
    return solution.objective < np.inf and solution.duality_gap <= TOLERANCE * solution.objective


def _solution(counts: Array, atoms: Atoms, multipliers: Array) -> GaugeSolution:
    root = np.sqrt(counts)
    feasible = multipliers - multipliers.mean(axis=0)  # which changes no optimum, and cross-entropy requires it
    feasible = feasible - np.outer(feasible @ root, root) / counts.sum()
    feasible = feasible / max(polar(feasible).bound, 1.0)
    value = float(np.linalg.norm(atoms.weights, axis=0).sum())
    return GaugeSolution(atoms, feasible, value, -float(np.diag(feasible) @ root))


def _own_directions(counts: Array) -> GaugeSolution:
    K, root = len(counts), np.sqrt(counts)
    bias = _median(root)
    away = np.eye(K) - bias[:, None]
    distances = np.linalg.norm(away, axis=0)
    kept = distances > 0
    multipliers = np.zeros((K, K))
    multipliers[:, kept] = -away[:, kept] / distances[kept]
    multipliers[:, ~kept] = -(multipliers @ root)[:, None] / root[~kept]  # at most one: the class whose label is b
    return _solution(counts, Atoms((away * root)[:, kept], np.eye(K)[kept], bias), multipliers)


def _median(root: Array) -> Array:
    """The b with the least sum_k root_k |e_k - b|."""
    first = int(root.argmax())
    pull = root.copy()
    pull[first] -= root.sum()
    if np.linalg.norm(pull) <= np.sqrt(2) * root[first]:  # no other label outweighs the largest class'
        return np.asarray(np.eye(len(root))[first])
    b = root / root.sum()
    for _ in range(MOST_STEPS):
        away = np.eye(len(root)) - b[:, None]
        distances = np.linalg.norm(away, axis=0)
        unit, pulls = away / distances, root / distances
        slope = -unit @ root
        step = np.linalg.solve(pulls.sum() * np.eye(len(root)) - (unit * pulls) @ unit.T, -slope)
        value, decrement = float(root @ distances), -float(slope @ step)
        if decrement > 1e-9 * value:  # nearer than that the value cannot distinguish steps
            while root @ np.linalg.norm(np.eye(len(root)) - (b + step)[:, None], axis=0) > value:
                step = step / 2
        b = b + step
        if decrement <= 1e-20 * value:
            break
    return np.asarray(b)


@dataclass(frozen=True)
class _Point:
    """W (K, r), H (r, K) >= 0, b and L: where the derivatives of |W|^2/2 + |H|^2/2 + <L, W H + b sqrt(n)^T - D> by all
    of them are zero, but for those by entries of H that are held at zero."""

    W: Array
    H: Array
    b: Array
    L: Array

    def slope(self, root: Array) -> Array:
        missed = self.W @ self.H + np.outer(self.b, root) - np.diag(root)
        parts = (self.W + self.L @ self.H.T, self.H + self.W.T @ self.L, self.L @ root, missed)
        return np.concatenate([part.ravel() for part in parts])

    def curvature(self, root: Array) -> Array:
        K, r = self.W.shape
        one = np.eye(K)
        between = np.einsum("ij,ak->aijk", np.eye(r), self.L).reshape(K * r, r * K)
        W_to_L = np.einsum("ac,ik->aick", one, self.H).reshape(K * r, K * K)
        H_to_L = np.einsum("kl,ci->ikcl", one, self.W).reshape(r * K, K * K)
        b_to_L = np.einsum("ac,k->ack", one, root).reshape(K, K * K)
        zeros = np.zeros((K * r, K))
        return np.block(
            [
                [np.eye(K * r), between, zeros, W_to_L],
                [between.T, np.eye(r * K), zeros, H_to_L],
                [zeros.T, zeros.T, np.zeros((K, K)), b_to_L],
                [W_to_L.T, H_to_L.T, b_to_L.T, np.zeros((K * K, K * K))],
            ]
        )

    def stepped(self, step: Array) -> "_Point":
        ends = np.cumsum([self.W.size, self.H.size, self.b.size])
        parts = np.split(step, ends)
        return _Point(*(old + new.reshape(old.shape) for old, new in zip(vars(self).values(), parts, strict=True)))


def _shared_directions(counts: Array, start: float) -> GaugeSolution:
    """The optimum, if the directions at a small decay have the same zeros as in the limit."""
    root = np.sqrt(counts)
    strength = start * float(root.min()) / float(counts.sum())
    near = solve(ConvexProblem(LOSSES["mse"], counts, strength, True))
    sizes = np.sqrt(np.linalg.norm(near.atoms.weights, axis=0))
    at = _Point(
        near.atoms.weights / sizes, near.atoms.directions * sizes[:, None], near.atoms.bias, near.slopes / strength
    )
    free = np.concatenate([np.ones(at.W.size), (at.H > 0).ravel(), np.ones(at.b.size + at.L.size)]).astype(bool)
    for _ in range(MOST_STEPS):
        slope = at.slope(root)
        if np.abs(slope[free]).max() <= ROUNDING * root.max():
            break
        step = np.zeros_like(slope)
        # Exchangeable directions make the system singular.
        step[free] = np.linalg.lstsq(at.curvature(root)[np.ix_(free, free)], -slope[free], rcond=1e-12)[0]
        at = at.stepped(step)
    lengths = np.linalg.norm(at.H, axis=1)
    solution = _solution(counts, Atoms(at.W * lengths, at.H / lengths[:, None], at.b), at.L)
    solved = np.abs(at.slope(root)[free]).max() <= 1e3 * ROUNDING * root.max() and at.H.min() >= 0
    return solution if solved else GaugeSolution(solution.atoms, solution.slopes, np.inf, 0.0)
