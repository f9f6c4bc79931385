"""Cross-entropy with a linear head on features of free sign: the simplex ETF where it is optimal, better configurations
where it is not, and the certified optimum of one linear layer for any class counts.

Sources: Dang et al. 2023, Theorem 2 (balanced; claimed for every depth). Garrod and Keating 2024, Theorem 1, refute it
for (M = 2, K >= 6) and (M >= 3, K >= 4); other structures refute more. Hong and Ling 2023: with one layer the problem
is convex in the class means' logits. Facts with short proofs in docs/proofs.md: K = 2 is proven at every depth; so is
zero if decay is strong enough, and with label smoothing the simplex if decay is weak enough. All of this also holds
with a decayed bias and an adjustment of equal counts; the program also covers smoothing, class weights and any
adjustment.
"""

import math
from dataclasses import replace

import numpy as np

from ncrun.losses import CrossEntropy
from ncrun.problem import Problem
from ncrun.theory import convex_program
from ncrun.theory.class_losses import dual_values
from ncrun.theory.collapse_border import decay_to_collapse
from ncrun.theory.convex_problem import ConvexProblem
from ncrun.theory.deep_cross_entropy import MOST_FOR_A_BOUND, bracketed
from ncrun.theory.group_structures import (
    Block,
    Structure,
    best_gain,
    best_structures,
    circle_block,
    collapse_penalty,
    simplex_block,
)
from ncrun.theory.mixed_groups import Posed
from ncrun.theory.mixture_families import best_mixture, was_searched
from ncrun.theory.prediction import STRICTLY, Prediction, Reference, against_known
from ncrun.theory.products import mean_decay
from ncrun.theory.seli import seli_reference
from ncrun.theory.spectra import Spectrum, full_svd
from ncrun.theory.spectrum import assemble, balanced_powers
from ncrun.theory.symmetry import alike_by_class, kinds_of
from ncrun.theory.theorem import (
    BALANCED,
    DEEP,
    FREE,
    ONE_LAYER,
    UNDECAYED_BIAS,
    WIDE_FOR_SIMPLEX,
    Condition,
    Theorem,
    at_vanishing_decay,
    kind_with_options,
)

SOURCE_BALANCED = "Dang et al. 2023, Theorem 2 (cross-entropy, balanced, last-layer bias)"
SOURCE_NO_BIAS = "Dang et al. 2023, Theorem 2, whose bias is zero at the optimum: without one see docs/proofs.md"
SOURCE_TWO = "two balanced classes: docs/proofs.md (the value of Dang et al. 2023, Theorem 2)"
SOURCE_ZERO = "zero is optimal at decays this strong: docs/proofs.md"
SOURCE_OPTIONS = "balanced classes with label smoothing or a decayed bias: docs/proofs.md"
SOURCE_SMOOTHED = "the simplex is optimal with label smoothing at decays this weak: docs/proofs.md"
SOURCE_CERTIFIED = "Hong and Ling 2023, convex program in the logits, solved with a duality gap"
SOURCE_EXTENDED = f"{SOURCE_CERTIFIED}, for this loss and bias: docs/proofs.md"
SOURCE_GROUPS = "Garrod and Keating 2024, Theorem 1, extended to other groups"

NOT_SEARCHED = "no group of classes is lower; other configurations were not searched"
LARGEST_GAP = 1e-6  # relative to the objective: a larger gap is not a certificate


def _limit(problem: Problem) -> Prediction:
    """The simplex ETF, up to scale, of balanced classes under plain weight decay."""
    geometry = _simplex(replace(problem, feature_decay=problem.weight_decays[0]), 1.0)
    note = "plain weight decay has no exact theorem: the target is the simplex ETF, up to scale"
    if problem.depth > 1:
        note += "; deep heads may prefer solutions of lower rank"
    note += at_vanishing_decay(problem)
    return replace(geometry, problem=problem, claim="transferred", source=_source(problem), scale_free=True, note=note)


def _balanced(problem: Problem) -> Prediction:
    """Compares the simplex ETF with every structure of groups, and with zero."""
    K, M, count = problem.num_classes, problem.depth, problem.counts[0]
    penalty = (M + 1) / 2 * mean_decay(problem)
    whole = simplex_block(K, K, problem.label_smoothing)
    gain, value = (float(x[0]) for x in best_gain(whole, K, count, np.array([penalty]), M))
    collapse = collapse_penalty(whole, K, count, M) / penalty
    geometry = replace(
        _simplex(problem, gain),
        objective=value,
        bias=np.zeros(K),
        decay_to_collapse=np.full(K, collapse),
    )
    if M == 1:
        return replace(geometry, claim="proven", source=_source(problem))
    if K == 2:
        return replace(geometry, claim="proven", source=SOURCE_TWO)
    if _zero_is_proven(problem, penalty):
        return replace(geometry, claim="proven", source=SOURCE_ZERO)
    if _simplex_is_proven(problem, penalty, gain):
        return replace(geometry, claim="proven", source=SOURCE_SMOOTHED)
    posed = posed_of(problem)
    looked = "scripts/search_cross_entropy.py found nothing lower" if was_searched(posed) else NOT_SEARCHED
    note = f"claimed for every depth; false for other K, M or decay, and here {looked}"
    claimed = replace(geometry, source=_source(problem))
    return against_known(claimed, *_alternatives(posed), "simplex", note)


def posed_of(problem: Problem) -> Posed:
    """The parameters of the values of groups and mixtures. problem: with equal class counts."""
    K, M = problem.num_classes, problem.depth
    penalty = (M + 1) / 2 * mean_decay(problem)
    return Posed(K, problem.counts[0], penalty, M, problem.bias, problem.label_smoothing, problem.bias_decay)


def _source(problem: Problem) -> str:
    if problem.label_smoothing or problem.bias_decay:
        return SOURCE_OPTIONS
    return SOURCE_BALANCED if problem.bias else SOURCE_NO_BIAS


def _simplex(problem: Problem, gain: float) -> Prediction:
    """Logits gain * (I - 11^T/K), balanced between the layers."""
    K, count = problem.num_classes, problem.counts[0]
    axes = full_svd(np.eye(K) - 1 / K)[0][:, : K - 1]
    kept = np.full(K - 1, gain * count**0.5)
    return assemble(problem, Spectrum(axes, kept, axes), kept, *balanced_powers(problem, kept), K - 1)


def _zero_is_proven(problem: Problem, penalty: float) -> bool:
    """Whether decay outweighs the gain of any logits: docs/proofs.md."""
    K, M, smoothing = problem.num_classes, problem.depth, problem.label_smoothing
    # No logits have a loss below the entropy of the labels.
    most = math.log(K) - float(dual_values(CrossEntropy(smoothing), np.zeros((K, K)))[0])
    farthest = K * problem.counts[0] ** 0.5 * most / (1 - smoothing)
    return bool(penalty * farthest ** (2 / (M + 1)) >= most)


def _simplex_is_proven(problem: Problem, penalty: float, gain: float) -> bool:
    """Whether label smoothing leaves so little gain that no logits of lower rank can be better: docs/proofs.md."""
    K, power = problem.num_classes, 2 / (problem.depth + 1)
    if not (problem.label_smoothing and gain > 0):
        return False
    saved = penalty * problem.counts[0] ** (power / 2) * max(power, 1 - power) * gain ** (power - 2)
    return bool(saved * (2 + math.sqrt(2) * gain) * math.sqrt(K - 1) * K * (math.exp(gain) + K - 1) <= 1)


def _alternatives(posed: Posed) -> tuple[Reference, tuple[Reference, ...]]:
    """The lowest known value; and references: it, the best structure of groups, pairs and the circle, if they are not
    the simplex."""
    K, count, penalty, M = posed.num_classes, posed.count, np.array([posed.penalty]), posed.depth
    (structure,) = best_structures(K, count, penalty, M, posed.smoothing)
    simplex_name = Structure((("simplex", K),), 0.0).name
    grouped = Reference(structure.name, structure.value, SOURCE_GROUPS, "upper-bound")
    mixed = best_mixture(posed)
    best = mixed if (mixed.objective or 0.0) < structure.value * (1 - STRICTLY) else grouped
    pair, lone, circle = (
        shape(size, K, posed.smoothing) for shape, size in ((simplex_block, 2), (simplex_block, 1), (circle_block, K))
    )

    def value(block: Block) -> float:
        return float(best_gain(block, K, count, penalty, M)[1][0])

    pairs_value = (K // 2) * value(pair) + (K % 2) * value(lone)
    pairs_name = "pairs of classes" + (" and one alone" if K % 2 else "")
    pairs = Reference(pairs_name, pairs_value, "Garrod and Keating 2024, Theorem 1", "upper-bound")
    around = Reference(f"circle of {K} classes", value(circle), SOURCE_GROUPS, "upper-bound")
    named = [reference for reference in (best, grouped, pairs, around) if reference.name != simplex_name]
    return best, tuple({reference.name: reference for reference in named}.values())


def _certified(problem: Problem) -> Prediction:
    """One layer, any counts, with the thresholds of its classes."""
    geometry = _without_borders(problem)
    solved = geometry.claim == "certified" and geometry.source.startswith(SOURCE_CERTIFIED)
    if not solved or problem.class_weights or problem.logit_adjustment:
        return geometry
    alive = ~np.array(geometry.collapsed(), dtype=bool)
    return replace(geometry, decay_to_collapse=decay_to_collapse(ConvexProblem.of(problem), alive))


def _without_borders(problem: Problem) -> Prediction:
    """Solves the convex program and computes the balanced factors of its solution."""
    counts = np.asarray(problem.counts, dtype=float)
    # The rounding of a duality gap grows with the number of terms.
    tolerance = max(1e-13, 4e-15 * len(counts))
    solution = convex_program.solve(ConvexProblem.of(problem), tolerance)
    if not solution.duality_gap <= LARGEST_GAP * solution.objective:
        note = f"the convex program was solved only to a duality gap of {solution.duality_gap:.1g} at these decays"
        return Prediction(problem, "none", SOURCE_CERTIFIED, note=note)
    spectrum = Spectrum.of(solution.logits * np.sqrt(counts))
    references = seli_reference(problem)
    if len(spectrum.values) > problem.widths[0]:
        return replace(bracketed(problem), references=references)
    bias = alike_by_class(solution.bias, kinds_of(problem))
    geometry = assemble(problem, spectrum, spectrum.values, *balanced_powers(problem, spectrum.values), len(counts))
    return replace(
        geometry,
        claim="certified",
        source=SOURCE_CERTIFIED if problem.has_plain_loss and not problem.bias_decay else SOURCE_EXTENDED,
        objective=solution.objective,
        duality_gap=solution.duality_gap,
        bias=bias,
        references=references,
    )


FINITE = kind_with_options("ce", "linear", "features", FREE)
UNWEIGHTED = Condition("class weights of 1", lambda problem: set(problem.class_weights) <= {1.0})
UNLIKE = Condition(
    "unequal class counts, or class weights",
    lambda problem: not (BALANCED.holds(problem) and UNWEIGHTED.holds(problem)),
)
FEW_CLASSES = Condition(f"at most {MOST_FOR_A_BOUND} classes", lambda problem: problem.num_classes <= MOST_FOR_A_BOUND)
ANY_COUNTS = Theorem("cross-entropy-one-layer", (*FINITE, UNLIKE, ONE_LAYER), _certified)
WITHOUT_BORDERS = replace(ANY_COUNTS, prediction=_without_borders)  # for callers that need many optima
NARROW = Condition("a layer narrower than K - 1", lambda problem: not WIDE_FOR_SIMPLEX.holds(problem))
DEEP_OR_NARROW = Condition(
    "unequal class counts and two layers or more, or a layer narrower than K - 1",
    lambda problem: DEEP.holds(problem) if UNLIKE.holds(problem) else NARROW.holds(problem),
)
ALL_ALIKE = Theorem("cross-entropy-balanced", (*FINITE, BALANCED, UNWEIGHTED, WIDE_FOR_SIMPLEX), _balanced)
THEOREMS = (
    ALL_ALIKE,
    ANY_COUNTS,
    Theorem("cross-entropy-between", (*FINITE, DEEP_OR_NARROW, FEW_CLASSES), bracketed),
    Theorem(
        "cross-entropy-limit",
        (*kind_with_options("ce", "linear", "parameters", FREE), BALANCED, UNDECAYED_BIAS, WIDE_FOR_SIMPLEX),
        _limit,
    ),
)
