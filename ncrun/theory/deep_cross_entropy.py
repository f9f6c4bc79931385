"""Cross-entropy with a linear head where no theorem knows the optimum: two layers or more with unequal counts or class
weights, and heads narrower than K - 1. The optimum lies between a proven lower bound and the lowest point that a search
finds; where the two meet, that point is certified.

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
MOST_FOR_A_BOUND = 200  # a bound takes some twenty convex programs
LARGEST_GAP = 1e-9  # of the objective: from here on the two values are one
SYMMETRIC = 1e-5  # of the largest entry: how far equal classes may be apart at one and the same optimum


def bracketed(problem: Problem) -> Prediction:
    """Claim "open" with both values, or "certified" where they are one.

    Matrices are given where the found logits treat equal classes alike; where they do not, as with classes in groups,
    which classes go together is not determined.
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
        note = "equal classes differ at the lowest logits found: which of them go together is not determined"
        return replace(plain, note="; ".join(filter(None, (plain.note, note))))
    spectrum = Spectrum.of(found.X)
    shape = assemble(problem, spectrum, spectrum.values, *balanced_powers(problem, spectrum.values), len(kinds))
    bias = found.bias - found.bias.mean()
    return replace(plain, layers=shape.layers, class_logits=shape.class_logits, bias=bias, mean_rank=shape.mean_rank)


def _note(problem: Problem, value: float, below: float) -> str:
    searched = "" if problem.num_classes <= MOST_CLASSES else f"; beyond {MOST_CLASSES} classes little is searched"
    return f"the optimum is not known: no network is below {below:.6g}, the lowest found is {value:.6g}{searched}"
