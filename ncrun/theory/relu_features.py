"""Cross-entropy, one linear layer without bias, non-negative features, any class counts and weights.

Source: Dang et al. 2024 (arXiv 2401.02058), the theorem on the unconstrained ReLU features model; with class weights
w_k and label smoothing d the same computation (docs/proofs.md). The problem splits into one scalar problem for each
class. With lam = sqrt(lam_W lam_H) a sample of class k leaves to the other classes the probability
    a_k = N lam sqrt((K-1)/K) / (w_k sqrt(n_k)) + d (K-1)/K;
    margin M_k = log((K-1) (1/a_k - 1)), zero once a_k >= (K-1)/K;
    logits of class k: M_k (e_k - 1/K); features orthogonal, ||h_k||^2 = sqrt((K-1)/K lam_W/lam_H / n_k) M_k;
    W W^T with r_k = sqrt(n_k) M_k, classes with M_k = 0 sharing one classifier row.
"""

import math
from dataclasses import replace

import numpy as np

from ncrun.problem import Problem
from ncrun.theory.class_matrix import ClassMatrix
from ncrun.theory.prediction import Array, LayerTarget, Prediction
from ncrun.theory.products import mean_decay
from ncrun.theory.spectrum import centred_rank
from ncrun.theory.symmetry import kinds_of
from ncrun.theory.theorem import (
    NO_BIAS,
    NONNEGATIVE,
    NOT_SMOOTHED,
    ONE_LAYER,
    UNADJUSTED,
    UNDECAYED_BIAS,
    WIDE,
    Condition,
    Theorem,
    at_vanishing_decay,
    kind_with_options,
)

SOURCE = "Dang et al. 2024, theorem on unconstrained ReLU features (cross-entropy, any class counts)"
SOURCE_OPTIONS = "the computation of Dang et al. 2024 with class weights and label smoothing: docs/proofs.md"


def _optimum(problem: Problem) -> Prediction:
    assert problem.feature_decay is not None
    counts = np.asarray(problem.counts, dtype=float)
    K, N = problem.num_classes, counts.sum()
    strength = mean_decay(problem)
    weights, smoothing = np.array(problem.class_weights or 1.0), problem.label_smoothing
    # The factor on all decays at which a class is lost.
    border = (1 - smoothing) * weights * np.sqrt(counts * (K - 1) / K) / (N * strength)
    given_away = (K - 1) / K * ((1 - smoothing) / border + smoothing)
    margins = np.log(np.maximum((K - 1) * (1 / given_away - 1), 1.0))
    losses = np.log1p((K - 1) * np.exp(-margins)) + smoothing * (K - 1) / K * margins
    objective = (weights * counts / N) @ losses + strength * np.sqrt(counts * (K - 1) / K) @ margins
    geometry = _geometry(problem, margins, problem.weight_decays[0], problem.feature_decay)
    source = SOURCE if problem.has_plain_loss else SOURCE_OPTIONS
    return replace(geometry, claim="proven", source=source, objective=float(objective), decay_to_collapse=border)


def _limit(problem: Problem) -> Prediction:
    """The limit at vanishing decay, where all margins are equal, carried over to plain weight decay."""
    note = "plain weight decay has no exact theorem: the target is the limit at vanishing decay, up to scale"
    note += at_vanishing_decay(problem)
    geometry = _geometry(problem, np.ones(problem.num_classes), 1.0, 1.0)
    return replace(geometry, claim="transferred", source=SOURCE, scale_free=True, note=note)


def _geometry(problem: Problem, margins: Array, weight_decay: float, feature_decay: float) -> Prediction:
    counts = np.asarray(problem.counts, dtype=float)
    K, kinds = len(counts), kinds_of(problem)
    feature_gram = np.diag(np.sqrt((K - 1) / K * weight_decay / feature_decay / counts) * margins)
    pulls = np.sqrt(counts) * margins
    encoded = np.eye(K) - 1 / K
    # w_k = sqrt(lam_H / (K (K-1) lam_W)) (K sqrt(n_k) h_k - sum_m sqrt(n_m) h_m), with orthogonal h
    scale = math.sqrt(K * feature_decay / ((K - 1) * weight_decay))
    features = ClassMatrix.alike(feature_gram, kinds)
    weight_gram = scale * (encoded * pulls) @ encoded
    return Prediction(
        problem,
        "none",
        "",
        layers=(LayerTarget(ClassMatrix.alike(weight_gram, kinds), features),),
        class_logits=ClassMatrix.alike(encoded * margins, kinds),
        bias=np.zeros(K),
        mean_rank=centred_rank(features, counts),
    )


# Orthogonal features need a dimension for each class.
WHERE = (ONE_LAYER, NO_BIAS, WIDE)
# Both together give logits at vanishing decay that are not those of a simplex.
NOT_BOTH = Condition(
    "no smoothing beside an adjustment of unequal counts", lambda p: NOT_SMOOTHED.holds(p) or UNADJUSTED.holds(p)
)
OPTIMUM = Theorem(
    "relu-features", (*kind_with_options("ce", "linear", "features", NONNEGATIVE), *WHERE, UNADJUSTED), _optimum
)
THEOREMS = (
    OPTIMUM,
    Theorem(
        "relu-features-limit",
        (*kind_with_options("ce", "linear", "parameters", NONNEGATIVE), *WHERE, UNDECAYED_BIAS, NOT_BOTH),
        _limit,
    ),
)
