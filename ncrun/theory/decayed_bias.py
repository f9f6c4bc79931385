"""The squared loss with a decayed last-layer bias, free features, a linear head of M layers.

    minimise  data term + sum_m lam_W_m/2 ||W_m||^2 + lam_H/2 ||H||^2 + lam_b/2 |b|^2

Equal counts: the direction of all ones has the weight v = lam_b/(1 + lam_b) in the data term and every other one 1, so
    z_0 = argmin v (z - sqrt n)^2/(2N) + (M+1)/2 Lambda^(1/(M+1)) z^(2/(M+1)),   the others as without a bias:
from the simplex ETF at small lam_b to the orthogonal frame. Unequal counts: for a given b the optimum is the spectral
one of squared_loss.py for the matrix diag(sqrt n) - b sqrt(n)^T. The remaining problem in b is convex for M = 1, and so
certified; for M >= 2 descent gives the best value, beside a proven lower bound.
Proofs: docs/proofs.md. Motivation: Massion, Makhlouf and Massart (arXiv 2606.00344).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from ncrun.problem import Problem
from ncrun.theory.exchangeable import Kinds
from ncrun.theory.prediction import Array, Prediction, Reference
from ncrun.theory.products import mean_decay
from ncrun.theory.quasi_newton import minimise
from ncrun.theory.spectra import KindSpectrum, Spectrum, full_svd
from ncrun.theory.spectrum import assemble, balanced_powers, ties
from ncrun.theory.squared_loss import (
    existence_border,
    global_border,
    kept_fraction,
    shrinkage_strength,
)
from ncrun.theory.symmetry import alike_by_class
from ncrun.theory.theorem import BIAS, DEEP, FREE, NONNEGATIVE, PLAIN_LOSS, Condition, Theorem, kind_with_options

SOURCE = "squared loss with a decayed bias: docs/proofs.md"
LARGEST_GAP = 1e-9  # of the objective
POLISHING = 100
# Descent starts from these shares of the bias that is optimal alone.
STARTS = (1.0, 0.0, 0.5)


def _weight(problem: Problem) -> float:
    """v, of the direction of sqrt(n) in the data term."""
    return problem.bias_decay / (1 + problem.bias_decay)


def _optimum(problem: Problem) -> Prediction:
    return _balanced(problem) if problem.is_balanced else _unequal(problem)


def _balanced(problem: Problem) -> Prediction:
    counts = np.asarray(problem.counts, dtype=float)
    K, N, M, n, v = len(counts), counts.sum(), problem.depth, counts[0], _weight(problem)
    kappa = float(shrinkage_strength(np.sqrt(n), N, M, mean_decay(problem)))
    border = global_border(M)
    z = kept_fraction(np.append(np.full(K - 1, kappa), kappa / v), M) * np.sqrt(n)
    rank = min(K, *problem.widths)
    kept = np.where(np.arange(K) < rank, z, 0.0)
    share = 1 - kept[-1] / np.sqrt(n)  # for the direction of all ones, the part that the head leaves to the bias
    bias = np.full(K, share / (K * (1 + problem.bias_decay)))
    values = np.append(np.full(K - 1, np.sqrt(n)), np.sqrt(n) * (1 - bias[0] * K))
    # One kind of classes: differences of two, and their sum, which is never stronger.
    one = np.ones((1, 1))
    spectrum = KindSpectrum(Kinds.of(counts), one, one, np.roll(np.arange(K), -1), values)
    weights = np.append(np.ones(K - 1), v)
    penalty = (M + 1) / 2 * mean_decay(problem) * (kept ** (2 / (M + 1))).sum()
    geometry = assemble(problem, spectrum, kept, *balanced_powers(problem, kept), rank)
    collapse = None if ties(values, rank) else np.full(K, border / kappa)
    return replace(
        geometry,
        claim="proven",
        source=SOURCE,
        objective=float((weights * (kept - np.sqrt(n)) ** 2).sum() / (2 * N) + penalty),
        bias=bias,
        decay_to_collapse=collapse,
        decay_to_vanish=None if collapse is None or M == 1 else collapse * (existence_border(M) / border),
        note=_between_frames(v, kappa / border),
    )


def _between_frames(v: float, largest: float) -> str:
    """largest: v up to which only the bias has the direction of all ones."""
    if largest >= 1:
        return ""  # all classes are lost
    until = f"decay.bias = {largest / (1 - largest):.3g}"
    if v <= largest:
        return f"an exact simplex ETF, as for every bias decay up to {until}"
    return f"between the simplex ETF, which is exact up to {until}, and the orthogonal frame of a head without a bias"


def lower_bound(problem: Problem) -> float:
    """A lower bound for all networks: the spectral optimum for diag(sqrt n) T with T = I - (1 - sqrt v) q q^T, since
    the data term is |(X - diag(sqrt n)) T|^2/(2N), and multiplying by T raises no singular value of X."""
    counts = np.asarray(problem.counts, dtype=float)
    N, M, strength = counts.sum(), problem.depth, mean_decay(problem)
    q = np.sqrt(counts / N)
    shrunk = np.diag(np.sqrt(counts)) @ (np.eye(len(q)) - (1 - np.sqrt(_weight(problem))) * np.outer(q, q))
    values = np.maximum(full_svd(shrunk)[1], np.finfo(float).tiny)
    z = kept_fraction(shrinkage_strength(values, N, M, strength), M) * values
    z[min(len(q), *problem.widths) :] = 0.0
    return float(((z - values) ** 2).sum() / (2 * N) + (M + 1) / 2 * strength * (z ** (2 / (M + 1))).sum())


@dataclass(frozen=True)
class _InBias:
    """The problem in b alone, equal for classes of one count: c_g = sqrt(m_g) b_g for m_g classes of n_g samples.

    Within such classes diag(sqrt n) - b sqrt(n)^T is sqrt(n_g) on vectors of sum zero, and a (C, C) matrix on their
    sums. rank: the width of the narrowest layer.
    """

    problem: Problem
    sizes: Array
    members: Array
    rank: int

    @classmethod
    def of(cls, problem: Problem) -> "_InBias":
        sizes, members = np.unique(np.asarray(problem.counts, dtype=float), return_counts=True)
        return cls(problem, sizes, members.astype(float), min(problem.num_classes, *problem.widths))

    def kept(self, values: Array) -> Array:
        """The singular values of the optimal logits, from those of the matrix to fit."""
        N, M = sum(self.problem.counts), self.problem.depth
        positive = np.maximum(values, np.finfo(float).tiny)
        return kept_fraction(shrinkage_strength(positive, N, M, mean_decay(self.problem)), M) * values

    def __call__(self, c: Array) -> tuple[float, Array]:
        """Value and gradient. c: (C,)."""
        N, M, lam = sum(self.problem.counts), self.problem.depth, self.problem.bias_decay
        ones = np.sqrt(self.sizes * self.members)
        left, values, right_t = full_svd(np.diag(np.sqrt(self.sizes)) - np.outer(c, ones))
        every = np.concatenate([values, np.sqrt(self.sizes)])
        copies = np.concatenate([np.ones(len(values)), self.members - 1])
        order = np.argsort(-every, kind="stable")
        room = np.clip(self.rank - np.cumsum(copies[order]) + copies[order], 0, copies[order])
        held = np.empty_like(copies)
        held[order] = room  # the number of copies of each value that fit
        z = self.kept(every)
        of_kept = (z - every) ** 2 / (2 * N) + (M + 1) / 2 * mean_decay(self.problem) * z ** (2 / (M + 1))
        value = float((held * of_kept + (copies - held) * every**2 / (2 * N)).sum() + lam / 2 * c @ c)
        rest = (left * (held[: len(values)] * z[: len(values)] - values)) @ right_t
        return value, np.asarray(rest @ ones / N + lam * c)

    def start(self, share: float) -> Array:
        return np.asarray(share * self.sizes * np.sqrt(self.members) / sum(self.problem.counts))


def _unequal(problem: Problem) -> Prediction:
    reduced = _InBias.of(problem)
    convex = problem.depth == 1 and reduced.rank == problem.num_classes
    shares = STARTS[:1] if convex else STARTS
    starts = np.array([reduced.start(share / (1 + problem.bias_decay)) for share in shares])
    found = minimise(lambda points, _: _stacked(map(reduced, points)), starts)
    c, value, slope = _polished(reduced, min(found, key=lambda each: reduced(each)[0]))
    of_class = np.searchsorted(reduced.sizes, problem.counts)
    bias = (c / np.sqrt(reduced.members))[of_class]
    geometry = replace(_at_bias(problem, bias, reduced), objective=value, source=SOURCE)
    bound = lower_bound(problem)
    gap = max(value - bound, 0.0)
    if convex:  # by at least lam_b in every direction
        gap = min(gap, float(slope @ slope) / (2 * problem.bias_decay))
    if gap <= LARGEST_GAP * value:
        return replace(geometry, claim="certified", duality_gap=gap)
    note = f"the lowest value that descent finds; the proven lower bound is {bound:.8g}"
    reference = Reference("descent over the bias", value, SOURCE, "upper-bound")
    return replace(geometry, claim="open", lower_bound=bound, references=(reference,), note=note)


def _stacked(found: Iterable[tuple[float, Array]]) -> tuple[Array, Array]:
    values, slopes = zip(*found, strict=True)
    return np.array(values), np.array(slopes)


def _polished(reduced: _InBias, c: Array) -> tuple[Array, float, Array]:
    """Alternates the best bias for the logits and the best logits for the bias, while the slope decreases: values only
    have their rounding, which determines slopes to its root. Returns point, value and slope."""
    value, slope = reduced(c)
    for _ in range(POLISHING):
        nearer = c - slope / (1 + reduced.problem.bias_decay)
        lower, flatter = reduced(nearer)
        if not np.linalg.norm(flatter) < np.linalg.norm(slope):
            break
        c, value, slope = nearer, lower, flatter
    return c, value, slope


def _at_bias(problem: Problem, bias: Array, reduced: _InBias) -> Prediction:
    """The spectral optimum for this bias."""
    counts = np.asarray(problem.counts, dtype=float)
    root = np.sqrt(counts)
    left, values, right_t = full_svd(np.diag(root) - np.outer(bias, root))
    kept = np.where(np.arange(len(values)) < reduced.rank, reduced.kept(values), 0.0)
    spectrum = Spectrum(left, values, right_t.T)
    geometry = assemble(problem, spectrum, kept, *balanced_powers(problem, kept), reduced.rank)
    return replace(geometry, bias=alike_by_class(bias, counts))


def _bound(problem: Problem) -> Prediction:
    """Features after a ReLU: the optimum of free features, as a bound."""
    free = replace(problem, feature_sign="free")
    value = _balanced(free).objective if problem.is_balanced else lower_bound(problem)
    note = (
        "a deep head with a bias on features after a ReLU: no theorem; the objective is the optimum of free features,"
        " a lower bound"
    )
    return Prediction(problem, "none", SOURCE, objective=value, note=note)


DECAYED = Condition("a bias with decay", lambda problem: problem.bias_decay > 0)
THEOREMS = (
    Theorem(
        "squared-loss-decayed-bias",
        (*kind_with_options("mse", "linear", "features", FREE), PLAIN_LOSS, BIAS, DECAYED),
        _optimum,
    ),
    Theorem(
        "squared-loss-decayed-bias-bound",
        (*kind_with_options("mse", "linear", "features", NONNEGATIVE), PLAIN_LOSS, BIAS, DECAYED, DEEP),
        _bound,
        bound_only=True,
    ),
)
