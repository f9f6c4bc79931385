"""The global optimum of the squared loss with a linear head of M layers: one spectral formula for every case.

Source: Dang et al. 2023, Theorems 1, 3 and 4 (balanced with and without bias; imbalanced without bias, M = 1 and M >=
2). The imbalanced case with an undecayed last-layer bias, which is open in the paper, follows from the same reduction:
eliminating the bias replaces the label matrix D by D (I - q q^T), and the rest of the proof only uses its singular
values.

With D = diag(sqrt n_k) and q = sqrt(n / N), the problem splits along the singular values t of
    Yhat = D               without bias,
    Yhat = D (I - q q^T)   with bias,
each of which is shrunk separately: z = argmin (z - t)^2 / (2N) + (M+1)/2 * Lambda^(1/(M+1)) z^(2/(M+1)),
Lambda = lam_H * prod_m lam_W_m. Only the min(K, all widths) largest survive.
"""

from dataclasses import replace

import numpy as np

from ncrun.problem import Problem
from ncrun.theory.exchangeable import Kinds
from ncrun.theory.prediction import MARGIN_ROUNDING, Array, Prediction
from ncrun.theory.products import mean_decay
from ncrun.theory.spectra import ClassSpectrum, KindSpectrum, full_svd
from ncrun.theory.spectrum import assemble, balanced_powers, shared_penalty, ties
from ncrun.theory.theorem import BIAS, DEEP, EITHER_SIGN, NONNEGATIVE, Condition, Theorem, kind

SOURCE = "Dang et al. 2023, Theorems 1, 3 and 4 (squared loss, spectral form)"
SOURCE_BIAS = "Dang et al. 2023, Theorem 1 (balanced); imbalanced by eliminating the bias, same spectral form"
LIMIT_SOURCE = "limit of vanishing decay of Dang et al. 2023, Theorems 1, 3 and 4, carried over to plain weight decay"


def label_spectrum(counts: Array, bias: bool) -> ClassSpectrum | KindSpectrum:
    """The directions along which the problem splits. counts: (K,). Without bias they are the classes themselves; with
    it, those of the G distinct counts, found in O(G^3)."""
    if not bias:
        order = np.argsort(-counts, kind="stable")
        return ClassSpectrum(order, np.sqrt(counts[order]))
    kinds = Kinds.of(counts)
    sizes, root = kinds.sizes, np.sqrt(counts[kinds.members])
    q = np.sqrt(sizes / counts.sum()) * root
    left, values, right_t = full_svd(root[:, None] * (np.eye(len(root)) - np.outer(q, q)))
    # The last singular value is zero: q itself. Inside a kind, differences of classes have no part in q.
    return KindSpectrum.of(kinds, left[:, :-1], values[:-1], right_t[:-1].T, root)


def shrinkage_strength(values: Array, num_samples: float, depth: int, decay: float) -> Array:
    """kappa, the dimensionless shrinkage of each singular value: the kept share a solves (1-a) a^p = kappa.

    decay: Lambda^(1/(M+1)), the geometric mean of all decays.
    """
    return np.asarray(num_samples * decay * values ** (-2 * depth / (depth + 1)))


def global_border(depth: int) -> float:
    """kappa above which zero is the global minimum (the gain there is (M-1)/M: it jumps for M >= 2)."""
    return float(((depth - 1) / depth) ** ((depth - 1) / (depth + 1)) / depth)


def existence_border(depth: int) -> float:
    """kappa above which there is no nonzero stationary point; between the two thresholds a run can be metastable."""
    return float((depth + 1) / (2 * depth) * ((depth - 1) / (2 * depth)) ** ((depth - 1) / (depth + 1)))


def kept_fraction(kappa: Array, depth: int) -> Array:
    """a in [0, 1]: the share z/t of a singular value that survives the shrinkage; zero at and above the global
    threshold.

    kappa: any shape. The largest root of (1-a) a^p = kappa, p = (M-1)/(M+1), is sought as the lost share l = 1-a: there
    l (1-l)^p is increasing and concave up to l = 1/M, and l = kappa lies below its root, so Newton's steps from kappa
    grow towards the root without passing it.
    """
    power = (depth - 1) / (depth + 1)
    border = global_border(depth)
    inside = np.minimum(kappa, border)
    lost = inside
    for _ in range(10):
        rest = 1 - lost
        slope = rest**power * (1 - power * lost / np.maximum(rest, 1e-300))
        lost = lost + (inside - lost * rest**power) / slope
    return np.where(kappa < border, 1 - lost, 0.0)


def optimum(problem: Problem) -> Prediction:
    """The optimum of the objective with decays on a linear head and the features."""
    counts = np.asarray(problem.counts, dtype=float)
    N, M = counts.sum(), problem.depth
    spectrum = label_spectrum(counts, problem.bias)
    rank = min(problem.num_classes, *problem.widths)
    kappa = shrinkage_strength(spectrum.values, N, M, mean_decay(problem))
    z = kept_fraction(kappa, M) * spectrum.values
    optimal = np.where(np.arange(len(z)) < rank, z, 0.0)
    energy = shared_penalty(problem, optimal)
    objective = float(((optimal - spectrum.values) ** 2).sum() / (2 * N) + (M + 1) / 2 * energy.sum())

    geometry = assemble(problem, spectrum, optimal, *balanced_powers(problem, optimal), rank)
    if problem.feature_sign == "nonnegative" and geometry.tie is not None:
        note = (
            "which classes share the bottleneck is not determined, and features after a ReLU restrict the choice"
            " further"
        )
        return Prediction(problem, "proven", SOURCE, objective=objective, note=note)
    collapse = None if ties(spectrum.values, rank) else _decay_to_collapse(problem, spectrum, kappa, rank)
    vanish = None
    if collapse is not None and M > 1 and not problem.bias:  # with a bias directions are not classes
        vanish = collapse * (existence_border(M) / global_border(M))
    return replace(
        geometry,
        claim="proven",
        source=SOURCE_BIAS if problem.bias else SOURCE,
        objective=objective,
        bias=counts / N if problem.bias else np.zeros(len(counts)),
        decay_to_collapse=collapse,
        decay_to_vanish=vanish,
    )


def _bound_with_bias(problem: Problem) -> Prediction:
    """Features after a ReLU with a bias: the optimum of free features, as a bound."""
    free = optimum(replace(problem, feature_sign="free"))
    note = (
        "a deep head with a bias on features after a ReLU: no theorem; the objective is the optimum of free features,"
        " a lower bound"
    )
    return Prediction(problem, "none", SOURCE_BIAS, objective=free.objective, note=note)


def limit(problem: Problem) -> Prediction:
    """The limit at vanishing decay, up to scale: W W^T ~ diag(n^(M/(M+1))) and H^T H ~ diag(n^(-M/(M+1))) without
    bias."""
    counts = np.asarray(problem.counts, dtype=float)
    spectrum = label_spectrum(counts, problem.bias)
    rank = min(problem.num_classes, *problem.widths)
    kept = np.where(np.arange(len(spectrum.values)) < rank, spectrum.values, 0.0)
    kept = kept / kept.max()
    note = "plain weight decay has no exact theorem: the target is the limit at vanishing decay, up to scale"
    if problem.bias:
        note += "; it assumes a bias without decay, but here the bias decays like all parameters (docs/proofs.md)"
    return replace(
        assemble(problem, spectrum, kept, *limit_powers(kept, problem.depth), rank),
        claim="transferred",
        source=LIMIT_SOURCE,
        scale_free=True,
        note=note,
    )


def limit_powers(values: Array, depth: int) -> tuple[list[Array], list[Array]]:
    """Squared singular values of each suffix W_M..W_m and of its input times sqrt(n_k), for m = 1..M, up to a factor,
    at vanishing decay. values: those of the logits times sqrt(n_k)."""
    weights = [values ** (2 * (depth - m) / (depth + 1)) for m in range(depth)]
    features = [values ** (2 * (m + 1) / (depth + 1)) for m in range(depth)]
    return weights, features


def _decay_to_collapse(problem: Problem, spectrum: ClassSpectrum | KindSpectrum, kappa: Array, rank: int) -> Array:
    """(K,): the factor on all decays at which each class' margin reaches zero; 0 where a bottleneck has removed it.

    Multiplying all M+1 decays by f multiplies kappa by f. Without bias a direction is a class, so the factor is a
    quotient. With bias the margin mixes directions and is followed by bisection, once for each distinct class count.
    """
    counts = np.asarray(problem.counts, dtype=float)
    border = global_border(problem.depth)
    kept = np.arange(len(kappa)) < rank
    if isinstance(spectrum, ClassSpectrum):
        return spectrum.by_class(np.where(kept, border / kappa, 0.0))
    kinds, prior = spectrum.kinds, (counts / counts.sum())[spectrum.kinds.members]
    root = np.sqrt(counts[kinds.members])
    block, apart = spectrum.split(spectrum.values * kept)
    pulls, pull_apart = spectrum.split(kappa)
    roots, each = np.sqrt(np.outer(kinds.sizes, kinds.sizes)), np.arange(len(root))

    def margins(factors: Array) -> Array:
        """(G,): the margin of each kind's classes with all decays times that kind's factor, relative to its logits."""
        z = kept_fraction(pulls * factors[:, None], problem.depth) * block
        own = kept_fraction(pull_apart * factors, problem.depth) * apart  # less the entry of another of its kind
        others = (z * spectrum.right) @ spectrum.left.T / roots
        others[each, each] -= own / kinds.sizes
        scores = others / root[:, None] + prior
        own = scores[each, each] + own / root
        size = np.maximum(np.abs(scores).max(axis=1), np.abs(own))
        scores[each[kinds.sizes == 1], each[kinds.sizes == 1]] = -np.inf
        return np.asarray((own - scores.max(axis=1)) / size)

    low, high = np.zeros(len(root)), np.full(len(root), 1.001 * border / float(kappa.min()))
    never_alive, always_alive = margins(low) <= MARGIN_ROUNDING, margins(high) > MARGIN_ROUNDING
    for _ in range(60):
        middle = (low + high) / 2
        alive = margins(middle) > MARGIN_ROUNDING
        low, high = np.where(alive, middle, low), np.where(alive, high, middle)
    # At `high` every direction is zero; only the bias is left, and it favours a single largest class.
    result = np.where(never_alive, 0.0, np.where(always_alive, np.inf, (low + high) / 2))
    return np.asarray(result[kinds.of_class])


# A frame fits into the orthant; the simplex, which a bias requires, does not.
FITS = Condition("no bias, or free features", lambda problem: problem.feature_sign == "free" or not problem.bias)

THEOREMS = (
    Theorem("squared-loss", (*kind("mse", "linear", "features", EITHER_SIGN), FITS), optimum),
    Theorem(
        "squared-loss-bound",
        (*kind("mse", "linear", "features", NONNEGATIVE), BIAS, DEEP),
        _bound_with_bias,
        bound_only=True,
    ),
    Theorem("squared-loss-limit", (*kind("mse", "linear", "parameters", EITHER_SIGN), FITS), limit),
)
