"""One linear layer on non-negative features, any class counts, with or without a bias: certified optimum.

Over all factorisations W Ht = X with Ht >= 0, of any width, the least penalty lam_W/2 ||W||^2 + lam_H/2 ||Ht||^2 is
s g(X), s = sqrt(lam_W lam_H), with the gauge g of polar.py. So the problem is that of convex_problem.py, with this g.

Method: first one direction per class (h_k = e_k), which is the optimum unless two columns of A form an acute angle;
then column generation: the best directions of the polar are added, all directions move together (L-BFGS-B on the
factors), and Newton's method finds the weights, until the bound equals the value.
"""

from dataclasses import dataclass

import numpy as np

from ncrun.theory.atom_program import Atoms, settle, value_of
from ncrun.theory.convex_problem import ConvexProblem
from ncrun.theory.moving_directions import moved
from ncrun.theory.polar import polar
from ncrun.theory.prediction import Array

TOLERANCE = 1e-11  # of the objective, between value and bound
MOST_ROUNDS = 40
MOST_STALLED = 8


@dataclass(frozen=True)
class GaugeSolution:
    """atoms: X = weights @ directions, and the bias. slopes: A at the optimum, (K, K).

    objective: the value there; lower_bound: for all points. own_directions: whether every class has its own direction,
    orthogonal to all others.
    """

    atoms: Atoms
    slopes: Array
    objective: float
    lower_bound: float

    @property
    def duality_gap(self) -> float:
        return self.objective - self.lower_bound

    @property
    def logits(self) -> Array:
        """(K, K): X, each column still times sqrt n."""
        return np.asarray(self.atoms.weights @ self.atoms.directions)


def solve(problem: ConvexProblem) -> GaugeSolution:
    """The optimum up to a duality gap of TOLERANCE, or the best point after MOST_ROUNDS rounds."""
    best = at = own_directions(problem)
    bound, stalled = best.lower_bound, 0
    for _ in range(MOST_ROUNDS):
        gap = best.objective - bound
        if gap <= TOLERANCE * best.objective or stalled == MOST_STALLED:
            break
        at = _solution(problem, settle(problem, moved(problem, _joined(problem, at))))
        bound = max(bound, at.lower_bound)
        best = min(best, at, key=lambda solution: solution.objective)
        stalled = 0 if best.objective - bound < 0.9 * gap else stalled + 1
    return GaugeSolution(best.atoms, best.slopes, best.objective, bound)


def narrowed(problem: ConvexProblem, solution: GaugeSolution, width: int) -> GaugeSolution:
    """The best point found near a solution with at most this many directions, with the solution's own bound."""
    kept = np.sort(np.argsort(-np.linalg.norm(solution.atoms.weights, axis=0))[:width])
    fewer = Atoms(solution.atoms.weights[:, kept], solution.atoms.directions[kept], solution.atoms.bias)
    at = _solution(problem, settle(problem, moved(problem, fewer)))
    return GaugeSolution(at.atoms, at.slopes, at.objective, max(at.lower_bound, solution.lower_bound))


def own_directions(problem: ConvexProblem) -> GaugeSolution:
    """The best point at which every class has its own direction; its bound tells whether it is the optimum."""
    K = len(problem.counts)
    nothing = _solution(problem, settle(problem, Atoms(np.zeros((K, 0)), np.zeros((0, K)), np.zeros(K))))
    if nothing.duality_gap <= TOLERANCE * nothing.objective:
        return nothing
    start = 0.1 * np.sqrt(problem.counts) * (np.eye(K) - 1 / K)
    own = _solution(problem, settle(problem, Atoms(start, np.eye(K), np.zeros(K))))
    for _ in range(K):  # a class without a direction may need one again after the others have moved
        lengths = np.linalg.norm(own.slopes, axis=0)
        without = own.atoms.directions.sum(axis=0) == 0
        wanted = without & (lengths > problem.strength * (1 + 1e-12))
        if not wanted.any():
            break
        own = _solution(problem, settle(problem, _beside(own, np.eye(K)[wanted])))
    return own


def _solution(problem: ConvexProblem, atoms: Atoms) -> GaugeSolution:
    losses = problem.losses(atoms.weights @ atoms.directions, atoms.bias)
    slopes = problem.slopes(problem.admissible(losses.errors))
    bound = problem.lower_bound(losses.errors, lambda A: polar(A).bound)
    return GaugeSolution(atoms, slopes, value_of(problem, atoms), bound)


def _joined(problem: ConvexProblem, at: GaugeSolution) -> Atoms:
    """The directions and those along which the objective decreases."""
    found = polar(at.slopes)
    return _beside(at, found.directions[found.lengths > problem.strength * (1 + 1e-13)])


def _beside(at: GaugeSolution, new: Array) -> Atoms:
    """new: (m, K), unit rows; along each the objective decreases."""
    size = 1e-2 * np.linalg.norm(at.atoms.weights, axis=0).max(initial=1e-3)
    pull = -at.slopes @ new.T
    pull = pull * (size / np.maximum(np.linalg.norm(pull, axis=0), 1e-300))
    return Atoms(np.column_stack((at.atoms.weights, pull)), np.vstack((at.atoms.directions, new)), at.atoms.bias)
