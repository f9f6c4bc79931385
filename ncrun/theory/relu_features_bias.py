"""One linear layer with a bias on non-negative features, any class counts: the standard network.

Squared loss, or cross-entropy with weights, smoothing and adjustment (the latter also without a bias, where no closed
form is known then); the bias may decay. The optimum is that of the convex program of gauge_program.py, certified by its
bound. Frequent classes have features orthogonal to all others; rare classes beside them share directions.
"""

from dataclasses import replace

import numpy as np

from ncrun.problem import Problem
from ncrun.theory.class_matrix import ClassMatrix
from ncrun.theory.convex_problem import ConvexProblem
from ncrun.theory.gauge_program import TOLERANCE, GaugeSolution, narrowed, own_directions, solve
from ncrun.theory.polar import linked_groups
from ncrun.theory.prediction import Array, LayerTarget, Prediction
from ncrun.theory.spectrum import centred_rank
from ncrun.theory.symmetry import alike_by_class, kinds_of
from ncrun.theory.theorem import (
    ADJUSTED,
    BIAS,
    NO_BIAS,
    NONNEGATIVE,
    ONE_LAYER,
    PLAIN_LOSS,
    Theorem,
    kind_with_options,
)

SOURCE = "convex program over non-negative features, solved with a duality gap: docs/proofs.md"
LARGEST_GAP = 1e-6  # relative to the objective: a larger gap is not a certificate
MOST_CLASSES = 16  # with shared directions; beyond it the systems have many thousands of unknowns
MOST_AT_ALL = 128  # the curvatures of K classes are K^3 numbers
NEARLY = 1e-6  # relative: angles and lengths below this are zero, for an optimum solved to TOLERANCE
FURTHEST = 4.0  # the largest power of the counts at which sharing is searched
BISECTED = 1e-3


def _optimum(problem: Problem) -> Prediction:
    assert problem.feature_decay is not None
    if problem.num_classes > MOST_AT_ALL:
        return Prediction(problem, "none", "", note=f"features after a ReLU: solved for up to {MOST_AT_ALL} classes")
    posed = ConvexProblem.of(problem)
    own = own_directions(posed)
    few = problem.num_classes <= MOST_CLASSES
    solution = solve(posed) if few and not _is_certified(own, TOLERANCE) else own
    needed, width = len(solution.atoms.directions), problem.widths[0]
    if needed > width:
        solution = narrowed(posed, solution, width)
        if not _is_certified(solution, LARGEST_GAP):
            note = f"the optimum found needs {needed} features: the objective is that of wider layers, a lower bound"
            return _bound(problem, solution, note)
    if not _is_certified(solution, LARGEST_GAP):
        note = "features after a ReLU: the program was not solved; the objective is a lower bound"
        if not few:
            note += f" (rare classes share directions, which is computed for up to {MOST_CLASSES} classes)"
        return _bound(problem, solution, note)
    certified = Prediction(
        problem, "certified", SOURCE, objective=solution.objective, duality_gap=max(solution.duality_gap, 0.0)
    )
    if not is_unique(posed, solution):
        return replace(certified, note="the optimum is not unique: only its value is determined")
    return shaped(certified, solution, float(np.sqrt(problem.feature_decay / problem.weight_decays[0])))


def _bound(problem: Problem, solution: GaugeSolution, note: str) -> Prediction:
    return Prediction(problem, "none", SOURCE, objective=solution.lower_bound, note=note)


def _is_certified(solution: GaugeSolution, tolerance: float) -> bool:
    return solution.duality_gap <= tolerance * solution.objective


def shaped(found: Prediction, solution: GaugeSolution, ratio: float) -> Prediction:
    """Adds the matrices from the directions: balanced, |w_i|^2 = ratio |h_i|^2, with ratio = sqrt(lam_H/lam_W) for
    decayed factors."""
    problem = found.problem
    counts, atoms = np.asarray(problem.counts, dtype=float), solution.atoms
    sizes = np.linalg.norm(atoms.weights, axis=0)
    weight_gram = ratio * (atoms.weights / sizes) @ atoms.weights.T
    root = np.sqrt(counts)
    feature_gram = (atoms.directions.T * sizes) @ atoms.directions / ratio / np.outer(root, root)
    kinds = kinds_of(problem)
    features = ClassMatrix.alike(feature_gram, kinds)
    return replace(
        found,
        layers=(LayerTarget(ClassMatrix.alike(weight_gram, kinds), features),),
        class_logits=ClassMatrix.alike(solution.logits / root, kinds),
        bias=alike_by_class(atoms.bias, kinds),
        mean_rank=centred_rank(features, counts),
        note="; ".join(filter(None, (found.note, _sharing_in_words(solution)))),
    )


def is_unique(posed: ConvexProblem, solution: GaugeSolution) -> bool:
    """Whether Gram matrices, logits and bias are the same at every optimum. Proof: docs/proofs.md."""
    A, s, root = solution.slopes, posed.strength, posed.root
    groups = linked_groups(A.T @ A, least=-NEARLY)
    dependent = max(len(group) - _rank(A[:, group]) for group in groups)
    if not posed.bias or posed.bias_decay:
        return dependent <= 1
    if dependent:
        return False
    pulls = np.column_stack([A[:, group] @ root[list(group)] for group in groups])
    idle = [
        np.linalg.norm(pull) < s * (1 - NEARLY) * np.linalg.norm(root[list(group)])
        for pull, group in zip(pulls.T, groups, strict=True)
    ]
    return any(idle) or _rank(pulls) > 1


def _rank(matrix: Array) -> int:
    """The rank of columns scaled to norm one; zero columns do not count."""
    norms = np.linalg.norm(matrix, axis=0)
    columns = matrix[:, norms > NEARLY * norms.max(initial=1e-300)]
    if not columns.size:
        return 0
    values = np.linalg.svd(columns / np.linalg.norm(columns, axis=0), compute_uv=False)
    return int((values > NEARLY * values[0]).sum())


def sharing_classes(directions: Array) -> list[int]:
    """The classes whose features are not orthogonal to those of all others. directions: (r, K), the unit h_i."""
    groups = linked_groups(directions.T @ directions, least=NEARLY) if len(directions) else ()
    return sorted(k for group in groups if len(group) > 1 for k in group)


def _sharing_in_words(solution: GaugeSolution) -> str:
    sharing = sharing_classes(solution.atoms.directions)
    if not sharing:
        return ""
    named = ", ".join(map(str, sharing[:-1])) if len(sharing) <= 6 else f"{sharing[0]}, {sharing[1]}, .."
    return f"classes {named} and {sharing[-1]} share feature directions, which are not orthogonal to each other"


def with_imbalance(problem: Problem, power: float) -> Problem:
    """The same with counts n_k^power, scaled to the same N: from equal counts at 0 through these at 1."""
    counts = np.asarray(problem.counts, dtype=float)
    moved = counts**power
    return replace(problem, counts=tuple((moved * (counts.sum() / moved.sum())).tolist()))


def imbalance_of_sharing(problem: Problem) -> float | None:
    """n_min/n_max at which classes begin to share directions, on the way from equal counts through these and beyond.

    The counts go through those of with_imbalance, t from 0 to FURTHEST. None where they never begin to, or where
    the counts are equal. problem: one that `THEOREMS` covers.
    """
    ratio = min(problem.counts) / max(problem.counts)

    def shares(t: float) -> bool:
        through = ConvexProblem.of(with_imbalance(problem, t))
        return not _is_certified(own_directions(through), TOLERANCE)

    low, high = (0.0, 1.0) if shares(1.0) else (1.0, FURTHEST)
    if ratio == 1 or shares(low) or not shares(high):
        return None
    while high - low > BISECTED * low:
        middle = (low + high) / 2
        low, high = (low, middle) if shares(middle) else (middle, high)
    return float(ratio ** ((low + high) / 2))


def sharing_in_words(problem: Problem) -> str:
    """The imbalance from which on classes share feature directions, in words; "" if that does not apply or never
    happens."""
    if not any(theorem.covers(problem) for theorem in THEOREMS) or problem.num_classes > MOST_CLASSES:
        return ""
    border = imbalance_of_sharing(problem)
    if border is None:
        return ""
    return (
        f"Classes with counts of this shape have orthogonal features for an imbalance down to {border:.3g}, and share"
        " directions below it."
    )


CE, MSE = (kind_with_options(loss, "linear", "features", NONNEGATIVE) for loss in ("ce", "mse"))
THEOREMS = (
    Theorem("relu-features-bias-ce", (*CE, ONE_LAYER, BIAS), _optimum),
    Theorem("relu-features-bias-mse", (*MSE, ONE_LAYER, BIAS, PLAIN_LOSS), _optimum),
    Theorem("relu-features-adjusted", (*CE, ONE_LAYER, NO_BIAS, ADJUSTED), _optimum),
)
