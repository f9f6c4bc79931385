"""Cross-entropy with a linear head on features of free sign: the simplex ETF where it is optimal, what beats it where
it is not, and the certified optimum of one linear layer for any class counts.

Sources: Dang et al. 2023, Theorem 2 (balanced; claimed for every depth). Garrod and Keating 2024, Theorem 1, refute it
for (M = 2, K >= 6) and (M >= 3, K >= 4); other structures refute more. Hong and Ling 2023: with one layer the problem
is convex in the class means' logits. Two facts with short proofs in docs/proofs.md: K = 2 is proven at every depth,
and so is zero once decay is strong enough.
"""

import math
from dataclasses import replace

import numpy as np

from ncrun.problem import Problem
from ncrun.theory import convex_program
from ncrun.theory.group_structures import (
    Block,
    Structure,
    best_gain,
    best_structures,
    best_with_bias,
    circle_block,
    collapse_penalty,
    simplex_block,
)
from ncrun.theory.prediction import MARGIN_ROUNDING, Array, Prediction, Reference, against_known, class_margins
from ncrun.theory.seli import seli_reference
from ncrun.theory.spectrum import Spectrum, assemble, balanced_powers, decay_product, full_svd
from ncrun.theory.theorem import BALANCED, FREE, ONE_LAYER, UNEQUAL, WIDE_FOR_SIMPLEX, Theorem, kind

SOURCE_BALANCED = "Dang et al. 2023, Theorem 2 (cross-entropy, balanced)"
SOURCE_TWO = "two balanced classes: docs/proofs.md (the value of Dang et al. 2023, Theorem 2)"
SOURCE_ZERO = "zero is optimal at decays this strong: docs/proofs.md"
SOURCE_CERTIFIED = "Hong and Ling 2023, convex program in the logits, solved with a duality gap"
SOURCE_GROUPS = "Garrod and Keating 2024, Theorem 1, extended to other groups"
COLLAPSE_DIGITS = 1e-3
# With more classes than this a margin is not followed: a prediction has to be instant.
MOST_FOLLOWED = 40


def _limit(problem: Problem) -> Prediction:
    """The scale-free simplex ETF of balanced classes under plain weight decay."""
    geometry = _simplex(replace(problem, feature_decay=problem.weight_decays[0]), 1.0)
    note = "plain weight decay has no exact theorem: the target is the simplex ETF, without a scale"
    if problem.depth > 1:
        note += "; deep heads may prefer solutions of lower rank"
    return replace(geometry, problem=problem, claim="transferred", source=SOURCE_BALANCED, scale_free=True, note=note)


def _balanced(problem: Problem) -> Prediction:
    """The simplex ETF against every structure of groups, and zero."""
    K, M, count = problem.num_classes, problem.depth, problem.counts[0]
    penalty = (M + 1) / 2 * decay_product(problem) ** (1 / (M + 1))
    whole = simplex_block(K, K)
    gain, value = (float(x[0]) for x in best_gain(whole, K, count, np.array([penalty]), M))
    collapse = collapse_penalty(whole, K, count, M) / penalty
    geometry = replace(
        _simplex(problem, gain),
        objective=value,
        bias=np.zeros(K),
        decay_to_collapse=np.full(K, collapse),
    )
    if M == 1:
        return replace(geometry, claim="proven", source=SOURCE_BALANCED)
    if K == 2:
        return replace(geometry, claim="proven", source=SOURCE_TWO)
    if _zero_is_proven(problem, penalty):
        return replace(geometry, claim="proven", source=SOURCE_ZERO)
    note = "claimed for every depth; false for other K, M or decay, and here no lower value is known"
    claimed = replace(geometry, source=SOURCE_BALANCED)
    return against_known(claimed, *_alternatives(problem, penalty), "simplex", note)


def _simplex(problem: Problem, gain: float) -> Prediction:
    """Logits gain * (I - 11^T/K), balanced between the layers."""
    K, count = problem.num_classes, problem.counts[0]
    axes = full_svd(np.eye(K) - 1 / K)[0][:, : K - 1]
    kept = np.full(K - 1, gain * count**0.5)
    return assemble(problem, Spectrum(axes, kept, axes), kept, *balanced_powers(problem, kept), K - 1)


def _zero_is_proven(problem: Problem, penalty: float) -> bool:
    """Whether the penalty outweighs what any logits can gain: docs/proofs.md."""
    K, M = problem.num_classes, problem.depth
    return bool(penalty * (K * problem.counts[0] ** 0.5 * math.log(K)) ** (2 / (M + 1)) >= math.log(K))


def _alternatives(problem: Problem, penalty: float) -> tuple[Reference, tuple[Reference, ...]]:
    """The best structure of groups; and it, pairs and the circle, where they are not the simplex itself."""
    K, M, count = problem.num_classes, problem.depth, problem.counts[0]
    (structure,) = best_structures(K, count, np.array([penalty]), M)
    simplex_name = Structure((("simplex", K),), 0.0).name
    if problem.bias:
        structure = min(structure, best_with_bias(K, count, penalty, M), key=lambda each: each.value)
    best = Reference(structure.name, structure.value, SOURCE_GROUPS, "upper-bound")
    pair, lone, circle = simplex_block(2, K), simplex_block(1, K), circle_block(K, K)

    def value(block: Block) -> float:
        return float(best_gain(block, K, count, np.array([penalty]), M)[1][0])

    pairs_value = (K // 2) * value(pair) + (K % 2) * value(lone)
    pairs_name = "pairs of classes" + (" and one alone" if K % 2 else "")
    pairs = Reference(pairs_name, pairs_value, "Garrod and Keating 2024, Theorem 1", "upper-bound")
    around = Reference(f"circle of {K} classes", value(circle), SOURCE_GROUPS, "upper-bound")
    named = [reference for reference in (best, pairs, around) if reference.name != simplex_name]
    return best, tuple({reference.name: reference for reference in named}.values())


def _certified(problem: Problem) -> Prediction:
    """One layer, any counts: solve the convex program and read the balanced factors off its solution."""
    counts = np.asarray(problem.counts, dtype=float)
    strength = math.sqrt(decay_product(problem))
    solution = convex_program.solve(counts, strength, problem.bias, tolerance=1e-13)
    left, values, right_t = full_svd(solution.logits * np.sqrt(counts))
    alive = values > 1e-12 * max(float(values[0]), 1e-300)
    references = seli_reference(problem)
    if int(alive.sum()) > problem.widths[0]:
        note = "a layer narrower than the optimum's rank: the objective is that of wide layers, a lower bound"
        return Prediction(
            problem, "none", SOURCE_CERTIFIED, objective=solution.lower_bound, references=references, note=note
        )
    spectrum = Spectrum(left[:, alive], values[alive], right_t[alive].T)
    margins = class_margins(solution.logits + solution.bias[:, None])
    geometry = assemble(problem, spectrum, spectrum.values, *balanced_powers(problem, spectrum.values), len(values))
    return replace(
        geometry,
        claim="certified",
        source=SOURCE_CERTIFIED,
        objective=solution.objective,
        duality_gap=solution.duality_gap,
        bias=solution.bias,
        decay_to_collapse=_decay_to_collapse(counts, strength, problem.bias, margins),
        references=references,
    )


def _decay_to_collapse(counts: Array, strength: float, bias: bool, margins: Array) -> Array:
    """(K,): the factor on all decays at which each class' margin reaches zero; nan where it was not sought.

    Two or more classes of one size are one from N s >= sqrt(n) on (Hong and Ling 2023; docs/proofs.md). The margin of a
    class that is alone with its size has to be followed through the program, which is done for the next such class to
    collapse, to three digits.
    """
    together = (counts[:, None] == counts[None, :]).sum(axis=1) > 1
    factors = np.where(together, np.sqrt(counts) / (counts.sum() * strength), np.nan)
    alone = np.where(together | (margins <= MARGIN_ROUNDING), np.inf, margins)
    if len(counts) > MOST_FOLLOWED or np.isinf(alone).all():
        return factors
    k = int(alone.argmin())
    # At the latest every margin is gone once s is as large as the gradient can be at Z = 0.
    low, high = 0.0, math.log(1.001 * math.sqrt(counts.max()) / (counts.sum() * strength))
    at_low, at_high = float(margins[k]), _margin(counts, math.exp(high) * strength, bias, k)
    if at_high > COLLAPSE_DIGITS:  # the bias alone favours the largest class
        return np.where(np.arange(len(counts)) == k, np.inf, factors)
    at_high = min(at_high, -COLLAPSE_DIGITS)  # without a bias it is exactly zero there
    while high - low > COLLAPSE_DIGITS:
        share = min(max(at_low / (at_low - at_high), 0.05), 0.95)  # regula falsi, kept from creeping
        middle = low + share * (high - low)
        at_middle = _margin(counts, math.exp(middle) * strength, bias, k)
        if at_middle > MARGIN_ROUNDING:
            low, at_low, at_high = middle, at_middle, at_high / 2
        else:
            high, at_high, at_low = middle, min(at_middle, -COLLAPSE_DIGITS), at_low / 2
    factors[k] = math.exp((low + high) / 2)
    return factors


def _margin(counts: Array, strength: float, bias: bool, k: int) -> float:
    solution = convex_program.solve(counts, strength, bias, tolerance=COLLAPSE_DIGITS**2)
    return float(class_margins(solution.logits + solution.bias[:, None])[k])


FINITE = kind("ce", "linear", "features", FREE)
THEOREMS = (
    Theorem("cross-entropy-balanced", (*FINITE, BALANCED, WIDE_FOR_SIMPLEX), _balanced),
    Theorem("cross-entropy-one-layer", (*FINITE, UNEQUAL, ONE_LAYER), _certified),
    Theorem("cross-entropy-limit", (*kind("ce", "linear", "parameters", FREE), BALANCED, WIDE_FOR_SIMPLEX), _limit),
)
