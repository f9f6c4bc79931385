"""A proven lower bound for cross-entropy with a deep linear head, from convex programs.

With M layers on free features the objective is
    D(X) + c sum_i sigma_i(X)^q,    q = 2/(M+1),    c = (M+1)/2 Lambda^(1/(M+1)),
D(X) being the data term with its best bias (spectrum.py). Two facts bound the decay term from below by the nuclear norm
    t: sum_i sigma_i^q >= t^q (q <= 1)
    sum_i sigma_i^q >= t B^(q-1)              where no singular value is above B,
and with any value U that some X reaches, no singular value of an optimum is above B = (U/c)^(1/q). The data term is
bounded by the lines  D >= d(s) - s t  that the convex program of one layer certifies at any strength s. What is left is
the least value over t of a convex broken line plus the larger of a concave function and a line, which lies at a corner.
Derivation: docs/proofs.md.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from ncrun.theory import convex_program
from ncrun.theory.convex_problem import ConvexProblem
from ncrun.theory.convex_program import Solution
from ncrun.theory.prediction import Array

FIRST = np.geomspace(1, 1e-8, 17)  # of the strength from which on zero is optimal
REFINED = 10  # strengths added around the corner at which the bound is attained
ENOUGH = 1e-12  # share of the bound: a refinement that gains less is the last
TOLERANCE = 1e-10


@dataclass
class LowerBound:
    """problem: of the convex program; its strength does not matter. price, power: c and q.

    solved: by strength, the solutions of the convex programs.
    """

    problem: ConvexProblem
    price: float
    power: float
    solved: dict[float, Solution] = field(default_factory=dict)

    def solve(self) -> None:
        """At strengths over many magnitudes."""
        weights = self.problem.shares
        # No gradient at zero is larger, in its Frobenius norm.
        largest = math.sqrt(float(2 * weights @ (weights / self.problem.counts)))
        self._add(largest * FIRST)

    def value(self, reached: float) -> float:
        """The bound, refined around its corner. reached: U, a value of some logits."""
        before = -math.inf
        for _ in range(REFINED):
            bound, strength = self._least(reached)
            if bound <= before + ENOUGH * abs(bound) or strength is None:
                break
            before = bound
            self._add([strength])
        return max(0.0, self._least(reached)[0])

    def _add(self, strengths: Iterable[float]) -> None:
        start = None
        for strength in map(float, strengths):
            if start is None and self.solved:
                start = self.solved[min(self.solved, key=lambda each: abs(math.log(each / strength)))].logits
            posed = replace(self.problem, strength=strength)
            self.solved[strength] = convex_program.solve(posed, TOLERANCE, start)
            start = self.solved[strength].logits

    def _least(self, reached: float) -> tuple[float, float | None]:
        """The bound from the known lines, and the strength whose line would raise it: the slope of the decay term at
        the bound's corner. None if it is not at a corner."""
        slopes = np.array([0.0, *sorted(self.solved)])
        heights = np.array([0.0, *(self.solved[s].lower_bound for s in sorted(self.solved))])
        corners = _corners(slopes, heights)
        limit = (reached / self.price) ** (1 / self.power)
        places = np.append(corners, limit)
        over = np.array([float((heights - slopes * t).max()) for t in places])
        with np.errstate(divide="ignore"):
            penalties = self.price * np.maximum(places**self.power, places * limit ** (self.power - 1))
        values = over + penalties
        i = int(values.argmin())
        place = float(places[i])
        if not 0 < place < limit:
            return float(values[i]), None
        strength = self.price * self.power * place ** (self.power - 1)
        return float(values[i]), None if np.isclose(strength, slopes, rtol=1e-9, atol=0).any() else strength


def _corners(slopes: Array, heights: Array) -> Array:
    """0, and where on t > 0 the highest of the lines heights - slopes t changes."""
    current = int(np.lexsort((slopes, -heights))[0])
    corners = [0.0]
    while (flatter := np.flatnonzero(slopes < slopes[current])).size:
        meet = (heights[current] - heights[flatter]) / (slopes[current] - slopes[flatter])
        at = float(meet.min())
        current = int(flatter[np.flatnonzero(meet <= at * (1 + 1e-12))][0])
        corners.append(at)
    return np.array(corners)
