"""Cross-entropy with a linear head without a known optimum: at least two layers with unequal counts or class weights,
and heads narrower than K - 1. The optimum is between a proven lower bound and the lowest point of a search; if the two
are equal, that point is certified.

Sources: schatten_bound.py, logit_search.py and docs/proofs.md.
"""

from dataclasses import replace

import numpy as np

from ncrun.problem import Problem
from ncrun.theory.class_matrix import ClassMatrix
from ncrun.theory.convex_problem import ConvexProblem
from ncrun.theory.logit_search import MOST_CLASSES, Found, Search
from ncrun.theory.prediction import Prediction
from ncrun.theory.products import mean_decay
from ncrun.theory.schatten_bound import LowerBound
from ncrun.theory.spectra import Spectrum
from ncrun.theory.spectrum import assemble, balanced_powers
from ncrun.theory.symmetry import kinds_of

SOURCE = "a lower bound by convex programs and the lowest logits that a search finds: docs/proofs.md"
MOST_FOR_A_BOUND = 200  # a bound needs about twenty convex programs
LARGEST_GAP = 1e-9  # relative to the objective: below this the two values count as equal
SYMMETRIC = 1e-5  # relative to the largest entry: the largest difference of equal classes at an optimum


def bracketed(problem: Problem) -> Prediction:
    """Claim "open" with both values, or "certified" if they are equal.

    Matrices are given only if the found logits treat equal classes equally; otherwise, as with groups of classes, it is
    not determined which classes form a group.
    """
    power, price = 2 / (problem.depth + 1), (problem.depth + 1) / 2 * mean_decay(problem)
    posed = ConvexProblem.of(problem)
    bound = LowerBound(posed, price, power)
    bound.solve()
    solutions = [(each.logits, each.bias) for each in bound.solved.values()]
    found = Search(posed, price, power, min(*problem.widths, problem.num_classes)).best(solutions)
    below = min(bound.value(found.value), found.value)
    gap = found.value - below
    certified = gap <= LARGEST_GAP * found.value
    plain = Prediction(
        problem,
        "certified" if certified else "open",
        SOURCE,
        objective=found.value,
        lower_bound=below,
        duality_gap=gap if certified else None,
        note="" if certified else _note(problem, found.value, below),
    )
    return _with_matrices(plain, problem, found)


def _with_matrices(plain: Prediction, problem: Problem, found: Found) -> Prediction:
    logits = found.X / np.sqrt(problem.counts)
    kinds = kinds_of(problem)
    largest = float(np.abs(logits).max())
    if float(np.abs(logits - ClassMatrix.alike(logits, kinds).array).max()) > SYMMETRIC * largest:
        note = "equal classes differ at the lowest logits found, and it is not determined which of them form a group"
        return replace(plain, note="; ".join(filter(None, (plain.note, note))))
    spectrum = Spectrum.of(found.X)
    shape = assemble(problem, spectrum, spectrum.values, *balanced_powers(problem, spectrum.values), len(kinds))
    bias = found.bias - found.bias.mean()
    return replace(plain, layers=shape.layers, class_logits=shape.class_logits, bias=bias, mean_rank=shape.mean_rank)


def _note(problem: Problem, value: float, below: float) -> str:
    searched = (
        "" if problem.num_classes <= MOST_CLASSES else f"; with more than {MOST_CLASSES} classes the search is short"
    )
    return f"the optimum is not known: the lower bound is {below:.6g}, the lowest value found {value:.6g}{searched}"
