"""Logits from given feature directions: the convex program after the directions h_i are chosen.

    minimise over W (K x r), b (K)   data term(X, b) + s sum_i |w_i| + lam_b/2 |b|^2,      X = W H,
with unit rows h_i of H, and the data term of convex_problem.py. A group-lasso program: smooth wherever no w_i is zero.
Newton's method, with the system solved for each group of directions that share classes; groups are coupled only by the
bias.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ncrun.theory.convex_problem import ConvexProblem
from ncrun.theory.polar import linked_groups
from ncrun.theory.prediction import Array

MOST_STEPS = 100
SHORTENINGS = 40
FAINT = 1e-12  # below this share of the largest weight a direction has weight zero
NEAR = 1e-11  # of the objective
POLISHING = 3


@dataclass(frozen=True)
class Atoms:
    """weights: (K, r), the w_i. directions: (r, K), the unit h_i. bias: (K,)."""

    weights: Array
    directions: Array
    bias: Array


def value_of(problem: ConvexProblem, atoms: Atoms) -> float:
    """The objective with these weights and directions."""
    losses = problem.losses(atoms.weights @ atoms.directions, atoms.bias)
    penalty = problem.strength * np.linalg.norm(atoms.weights, axis=0).sum() + problem.bias_penalty(atoms.bias)
    return float(problem.shares @ losses.values + penalty)


def settle(problem: ConvexProblem, atoms: Atoms) -> Atoms:
    """The optimum with these directions, to rounding, without directions of weight zero."""
    polished = 0
    for _ in range(MOST_STEPS):
        value = value_of(problem, atoms)
        weights, bias, decrement = _newton_step(problem, atoms)
        if decrement <= NEAR * value:
            # So near that the value cannot distinguish steps; Newton's steps need no check any more.
            atoms = Atoms(atoms.weights + weights, atoms.directions, atoms.bias + bias)
            polished += 1
            if polished == POLISHING:
                break
            continue
        step = Atoms(weights, atoms.directions, bias)
        shorter = _to_the_first_zero(atoms, step)
        if shorter is not None and value_of(problem, shorter) < value:
            atoms = shorter
            continue
        fraction = 1.0
        for _ in range(SHORTENINGS):
            trial = _along(atoms, step, fraction)
            if value_of(problem, trial) <= value - 1e-4 * fraction * decrement:
                break
            fraction /= 2
        else:
            break
        atoms = trial
    return _without(atoms, _is_faint(atoms))


def _along(atoms: Atoms, step: Atoms, fraction: float) -> Atoms:
    return Atoms(atoms.weights + fraction * step.weights, atoms.directions, atoms.bias + fraction * step.bias)


def _to_the_first_zero(atoms: Atoms, step: Atoms) -> Atoms | None:
    """The step up to where the first weight changes its sign, without this weight and those close to it; None if none
    does.

    Weights vanish at zero, where the objective has a kink. Between two classes it is even linear up to there.
    """
    along = (atoms.weights * step.weights).sum(axis=0)
    squares = (atoms.weights**2).sum(axis=0)
    turned = along < -squares
    if not turned.any():
        return None
    reach = np.where(turned, squares / np.where(turned, -along, 1), np.inf)
    first = float(reach.min())
    return _without(_along(atoms, step, first), reach <= 2 * first)  # one by one, a hundred of them would take too long


def _without(atoms: Atoms, left_out: NDArray[np.bool_]) -> Atoms:
    return Atoms(atoms.weights[:, ~left_out], atoms.directions[~left_out], atoms.bias)


def _is_faint(atoms: Atoms) -> NDArray[np.bool_]:
    sizes = np.linalg.norm(atoms.weights, axis=0)
    return np.asarray(sizes <= FAINT * sizes.max(initial=0))


def _newton_step(problem: ConvexProblem, atoms: Atoms) -> tuple[Array, Array, float]:
    """The changes of weights and bias, and the decrease of the objective's linear model along them."""
    K, root = len(problem.counts), problem.root
    W, H = atoms.weights, atoms.directions
    losses = problem.losses(W @ H, atoms.bias)
    sizes = np.linalg.norm(W, axis=0)
    unit = W / sizes
    slope = problem.slopes(losses.errors) @ H.T + problem.strength * unit  # (K, r)
    bias_slope = problem.bias_slope(losses.errors, atoms.bias)
    system = np.einsum("k,kij->ij", problem.shares, losses.curvatures) + problem.bias_decay * np.eye(K)
    if problem.blind_to_shifts:
        system = system + np.ones((K, K)) / K  # otherwise singular; the step has sum zero anyway
    curvatures = losses.curvatures * (problem.shares / problem.counts)[:, None, None]
    rest = -bias_slope
    solved: list[tuple[list[int], Array, Array]] = []  # of each group: its directions, and its step as c + L db
    for group in map(list, linked_groups(H @ H.T)):  # directions that share classes
        r = len(group)
        mixed = np.einsum("ak,bk,kij->aibj", H[group], H[group], curvatures)
        for a, i in enumerate(group):
            mixed[a, :, a, :] += problem.strength / sizes[i] * (np.eye(K) - np.outer(unit[:, i], unit[:, i]))
            mixed[a, :, a, :] += problem.strength / sizes[i] * 1e-12 * np.eye(K)
        block = mixed.reshape(r * K, r * K)
        cross = np.einsum("ak,kij->aij", H[group] * root, curvatures).reshape(r * K, K)
        both = np.linalg.solve(block, np.column_stack((-slope[:, group].T.ravel(), -cross)))
        solved.append((group, both[:, 0], both[:, 1:]))
        system = system + cross.T @ both[:, 1:]
        rest = rest - cross.T @ both[:, 0]
    bias = np.zeros(K)
    if problem.bias:
        bias = np.linalg.lstsq(system, rest, rcond=1e-14)[0]
    step = np.zeros_like(W)
    for group, constant, linear in solved:
        step[:, group] = (constant + linear @ bias).reshape(len(group), K).T
    return step, bias, -float((slope * step).sum() + bias_slope @ bias * problem.bias)
