"""For a refuted claim: the matrices of the lowest known configuration, and a proven lower bound.

A prediction holds only the value (`Prediction.best_known`); here are the configurations. Any order of the classes is
equally good. Every configuration has the least decay term for its logits or outputs, to which all factors contribute
equally (docs/proofs.md, Balancing, and sections 5 and 8).
"""

from dataclasses import dataclass

import numpy as np

from ncrun.problem import Problem
from ncrun.theory import cross_entropy, relu_head
from ncrun.theory.convex_problem import ConvexProblem
from ncrun.theory.group_structures import best_gain, best_structures, circle_block, simplex_block
from ncrun.theory.mixed_groups import Kind, Mixture, Posed, explicit
from ncrun.theory.mixture_families import lowest_mixture
from ncrun.theory.prediction import STRICTLY, Array
from ncrun.theory.products import mean_decay
from ncrun.theory.schatten_bound import LowerBound
from ncrun.theory.spectra import Spectrum
from ncrun.theory.spectrum import balanced_powers
from ncrun.theory.squared_loss import kept_fraction


@dataclass(frozen=True, eq=False)
class Configuration:
    """All (K, K), in the units of the objective: the Gram matrix of the classifier, that of its inputs' class means,
    and the logits, column k those of class k, without the bias, (K,). Of a ReLU head the classifier is its last layer.
    """

    weight_gram: Array
    feature_gram: Array
    logits: Array
    bias: Array


def lowest_known(problem: Problem) -> Configuration | None:
    """The configuration with the value `best_known` of the problem's prediction, or the claimed one if none is lower;
    None if the claim is not compared with other configurations."""
    weighed = _weighed(problem)
    if weighed is None:
        return None
    return _of_relu_head(problem) if weighed == "relu-head" else _of_cross_entropy(problem)


def lower_bound(problem: Problem, reached: float) -> float | None:
    """A lower bound for all networks if `lowest_known` has a configuration; else None. reached: a value of some
    network. Proofs: docs/proofs.md, sections 3 and 14."""
    weighed = _weighed(problem)
    if weighed is None:
        return None
    if weighed == "relu-head":
        return _bound_of_relu_head(problem)
    power, price = 2 / (problem.depth + 1), (problem.depth + 1) / 2 * mean_decay(problem)
    bound = LowerBound(ConvexProblem.of(problem), price, power)
    bound.solve()
    return bound.value(reached)


def _weighed(problem: Problem) -> str | None:
    """The key of the theorem whose claim for this problem is compared with other configurations."""
    for theorem in (*cross_entropy.THEOREMS, *relu_head.THEOREMS):
        if theorem.covers(problem):
            if theorem.key == "cross-entropy-balanced" and problem.depth > 1 and problem.num_classes > 2:
                return theorem.key
            if theorem.key == "relu-head" and problem.is_balanced and problem.feature_sign == "free":
                return theorem.key
    return None


def _of_cross_entropy(problem: Problem) -> Configuration:
    posed = cross_entropy.posed_of(problem)
    lowest = lowest_mixture(posed)
    (structure,) = best_structures(
        posed.num_classes, posed.count, np.array([posed.penalty]), posed.depth, posed.smoothing
    )
    logits, bias = explicit(lowest.candidate.mixture, lowest.point)
    if not lowest.value < structure.value * (1 - STRICTLY):
        logits, bias = _grouped(structure.blocks, posed)
    spectrum = Spectrum.of(logits * posed.count**0.5)
    weights, features = balanced_powers(problem, spectrum.values)
    return Configuration(
        (spectrum.left * weights[0]) @ spectrum.left.T,
        (spectrum.right * features[0]) @ spectrum.right.T / posed.count,
        logits,
        bias,
    )


def _grouped(blocks: tuple[tuple[str, int], ...], posed: Posed) -> tuple[Array, Array]:
    """Logits and biases, which are zero, of groups that share nothing. blocks: kind and size of each."""
    K, penalty = posed.num_classes, np.array([posed.penalty])
    kinds, gains = [], []
    for kind, size in blocks:
        block = (circle_block if kind == "circle" else simplex_block)(size, K, posed.smoothing)
        kinds.append(Kind(None, size) if kind == "silent" else Kind(block, 1))
        gains.append(float(best_gain(block, K, posed.count, penalty, posed.depth)[0][0]) or 1.0)
    return explicit(Mixture(tuple(kinds)), np.concatenate((np.log(gains), np.zeros(len(kinds)))))


def _of_relu_head(problem: Problem) -> Configuration:
    K, M, count = problem.num_classes, problem.depth, problem.counts[0]
    assert problem.feature_decay is not None
    # One column of H stands for the samples of a class.
    decays = (problem.feature_decay * count, *problem.weight_decays)
    split, _ = relu_head.lowest_split(problem)
    weight_gram, feature_gram, logits = np.zeros((3, K, K))
    at = 0
    for family in split.blocks:
        place = slice(at, at + family.size)
        factors = [each / np.linalg.norm(each) for each in family.factors]
        outputs, signal = _outputs(factors)
        wanted = family.kept(K, mean_decay(problem), count, M) * np.trace(outputs) / np.sum(outputs**2)
        # Factors of norm 1 are scaled to equal shares of the decay term with the required product.
        share = (wanted**2 * float(np.prod(decays))) ** (1 / (M + 1))
        above = float(np.sqrt(share / decays[-1]))
        last = factors[-1] * above
        inputs = signal * (wanted / above)
        weight_gram[place, place], feature_gram[place, place] = last @ last.T, inputs.T @ inputs
        logits[place, place] = last @ inputs
        at += family.size
    return Configuration(weight_gram, feature_gram, logits, np.zeros(K))


def _outputs(factors: list[Array]) -> tuple[Array, Array]:
    """Of H, W_1, .., W_L the outputs, and what the last layer reads."""
    signal = factors[0]
    for weight in factors[1:-1]:
        signal = np.maximum(weight @ signal, 0)
    return factors[-1] @ signal, signal


def _bound_of_relu_head(problem: Problem) -> float:
    """The minimum over the norm of the outputs, which may all be along the labels."""
    M, N = problem.depth, problem.num_samples
    decay = mean_decay(problem) * N ** (1 / (M + 1))
    kept = float(kept_fraction(np.array(decay), M))
    return float((1 - kept) ** 2 / 2 + (M + 1) / 2 * decay * kept ** (2 / (M + 1)))
