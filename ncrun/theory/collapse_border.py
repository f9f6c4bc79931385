"""Cross-entropy with one linear layer, any class counts: the factor on all decays at which each class' margin vanishes.

Classes of equal count n are merged if N s >= (1 - d) sqrt(n), d being the label smoothing (Hong and Ling 2023 for d =
0; docs/proofs.md). With a bias their margin to larger classes may vanish earlier, and for a class with a unique count
its own margin decides: these are followed through the convex program, to three digits.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ncrun.theory import convex_program
from ncrun.theory.convex_problem import ConvexProblem
from ncrun.theory.prediction import Array, class_margins

DIGITS = 1e-3
# A prediction must be instant. With more classes no margin is followed; with fewer always that of the next class, and
# others while at most this many programs (whose time grows about as K^2) have been solved.
MOST_CLASSES = 40
AFFORDABLE = 40_000
LEAST_FACTOR = 1e-12  # factor on the decays at which the search for a lost class' return ends


def decay_to_collapse(problem: ConvexProblem, alive: NDArray[np.bool_]) -> Array:
    """(K,): the factor on all decays at which each class' margin reaches zero; inf: at none; nan: not searched.

    problem: without class weights and adjustment, with which a class may be lost and come back. alive: (K,), whether
    the class' margin is positive at these decays.
    With up to MOST_CLASSES classes the thresholds of the next class to be lost, and of the next one to come back, are
    searched.
    """
    counts, strength = problem.counts, problem.strength
    sizes, members, of_class = np.unique(counts, return_index=True, return_inverse=True)
    path = _Path(problem, members, AFFORDABLE // len(counts) ** 2)
    living = alive[members]
    together = np.bincount(of_class) > 1
    merged = (1 - problem.label_smoothing) * np.sqrt(sizes) / (counts.sum() * strength)
    merging = np.where(together, merged, np.inf)
    # At the latest all classes are lost when s reaches the gradient (1 - d)/N (p 1^T - I) D can be at Z = 0: p is n/N
    # or 1/K, or with a decayed bias something between.
    end = 1.001 * float(merged[-1]) * (math.sqrt(len(counts)) if problem.bias_decay else 1)
    borders = np.full(len(sizes), np.nan)
    if problem.bias and not together[-1] and living[-1]:
        borders[-1] = np.inf  # the bias favours the largest class even if all logits are zero
    for c in np.flatnonzero(together):
        if path.left and path.margins(merging[c])[c] > 0:
            borders[c] = merging[c]
    latest = np.minimum(merging, end)
    if len(counts) <= MOST_CLASSES:
        _follow(path, borders, living & np.isnan(borders), latest, 1.0)
        _follow_back(path, borders, ~living & np.isnan(borders), latest)
    return np.asarray(borders[of_class])


@dataclass
class _Path:
    """The margins of each size' classes against all other sizes, along factors on the decays.

    members: one class of each size. left: how many more programs may be solved.
    """

    problem: ConvexProblem
    members: NDArray[np.int64]
    left: int
    known: dict[float, Array] = field(default_factory=dict)
    logits: Array | None = None

    def margins(self, factor: float) -> Array:
        """(C,)."""
        if factor not in self.known:
            self.left -= 1
            posed = self.problem.scaled(factor)
            solution = convex_program.solve(posed, DIGITS**3, self.logits)
            self.logits = solution.logits
            scores = solution.logits + solution.bias[:, None]
            same = (posed.counts[:, None] == posed.counts) & ~np.eye(len(scores), dtype=bool)
            self.known[factor] = class_margins(np.where(same, -np.inf, scores))[self.members]
        return self.known[factor]


def _follow(path: _Path, borders: Array, sought: NDArray[np.bool_], latest: Array, low: float) -> None:
    """Fills in the thresholds of the counts that are alive at the factor `low`, beginning with the next one to be
    lost."""
    path.left = max(path.left, 1)
    while sought.any() and path.left > 0:
        among = np.flatnonzero(sought)
        high = max(float(latest[among].min()), low)
        low, high = _root(path, lambda margins, among=among: float(margins[among].min()), low, high)  # type: ignore[misc]
        c = int(among[path.margins(high)[among].argmin()])
        borders[c], sought[c] = math.sqrt(low * high), False


def _follow_back(path: _Path, borders: Array, sought: NDArray[np.bool_], latest: Array) -> None:
    """Fills in the thresholds of the lost counts, beginning with the next one to come back."""
    high = 1.0
    path.left = max(path.left, 1)
    while sought.any() and path.left > 0:
        among = np.flatnonzero(sought)
        high = min(high, float(latest[among].max()))
        low = high / 2
        while path.margins(low)[among].max() <= 0:
            if low < LEAST_FACTOR:
                return
            high, low = low, low / 4
        low, high = _root(path, lambda margins, among=among: float(margins[among].max()), low, high)  # type: ignore[misc]
        c = int(among[path.margins(low)[among].argmax()])
        borders[c], sought[c] = math.sqrt(low * high), False


def _root(path: _Path, margin: Callable[[Array], float], low: float, high: float) -> tuple[float, float]:
    """Factors within DIGITS of each other, between which the margin vanishes; it is positive at `low` and zero at
    `high`."""
    at_low, at_high = max(margin(path.margins(low)), DIGITS), min(margin(path.margins(high)), -DIGITS)
    halved = True
    while high > low * (1 + DIGITS):
        share = min(max(at_low / (at_low - at_high), 0.02), 0.98)  # regula falsi
        before = math.log(high / low)
        middle = low * (high / low) ** (share if halved else 0.5)
        at_middle = margin(path.margins(middle))
        if at_middle > 0:
            low, at_low, at_high = middle, at_middle, at_high / 2
        else:
            high, at_high, at_low = middle, min(at_middle, -DIGITS), at_low / 2
        halved = math.log(high / low) < before / 2
    return low, high
