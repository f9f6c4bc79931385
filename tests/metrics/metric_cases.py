"""Cases on which the metrics are held against the reference, or against an answer that is known: made, measured by
both, and compared."""

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from reference_metrics import (
    Array,
    between,
    class_distance_variance,
    class_means,
    cosine_counts,
    distance,
    effective_nc1,
    frame,
    generalised,
    nearest_mean,
    numerical_rank,
    reference_balance,
    reference_data_term,
    reference_loss,
    reference_nc1_bounds,
    to_etf,
    to_target,
    whole_head,
    within,
)

from ncrun.metrics.rows import training_metrics, transfer_metrics
from ncrun.metrics.scan import Head
from ncrun.objective import Objective
from ncrun.theory import Prediction, Problem, predict

Values = dict[str, Any]
LEDGER = ("ledger.within_class", "ledger.duality", "ledger.bias", "ledger.geometry")


@dataclass(frozen=True)
class Case:
    """One problem for both implementations. features, test_features: (N, d), float32 or float64. weights: W_1 ..
    W_M.
    """

    features: NDArray[Any]
    labels: NDArray[np.int64]
    test_features: NDArray[Any]
    test_labels: NDArray[np.int64]
    weights: list[Array]
    bias: Array
    problem: Problem

    @property
    def eps(self) -> float:
        return float(np.finfo(self.features.dtype).eps)


def random_case(rng: np.random.Generator) -> Case:
    """Any shape that a run may have: d < K-1, N < d, single samples, bottlenecks, imbalance, strong decay, no
    theory.
    """
    K, M = int(rng.integers(2, 11)), int(rng.integers(1, 5))
    few_dimensions = rng.random() < 0.2
    d = int(rng.integers(1, max(2, K - 1))) if few_dimensions else int(rng.integers(1, 41))
    widths = (d, *(int(w) for w in rng.integers(1, 14, M - 1)))
    counts = np.full(K, rng.integers(1, 7)) if rng.random() < 0.3 else rng.integers(1, 13, K)
    if rng.random() < 0.5:
        counts[rng.integers(K)] = 1
    with_bias = bool(rng.random() < 0.5)
    problem = Problem(
        loss="ce" if rng.random() < 0.1 else "mse",
        counts=tuple(float(n) for n in counts),
        widths=widths,
        bias=with_bias,
        weight_decays=tuple(float(v) for v in 10 ** rng.uniform(-4, -0.5 if rng.random() < 0.1 else -2, M)),
        feature_decay=float(10 ** rng.uniform(-5, -2)),
        feature_sign="nonnegative" if rng.random() < 0.2 else "free",
    )
    if rng.random() < 0.15:
        same = (problem.weight_decays[0],) * M
        problem = Problem(problem.loss, problem.counts, widths, with_bias, same, None, decay_mode="parameters")
    dtype = np.float32 if rng.random() < 0.5 else np.float64
    labels = rng.permutation(np.repeat(np.arange(K), counts))
    test_labels = rng.permutation(np.concatenate([np.arange(K), rng.integers(0, K, rng.integers(0, 20))]))
    means = rng.normal(size=(K, d)) + rng.normal(size=d)
    spread = 10 ** rng.uniform(-3, 0.5)
    sizes = [*widths, K]
    weights = [
        rng.normal(size=(b, a)) / math.sqrt(a) * 10 ** rng.uniform(-0.5, 0.5) for a, b in itertools.pairwise(sizes)
    ]
    case = Case(
        (means[labels] + spread * rng.normal(size=(len(labels), d))).astype(dtype),
        labels,
        (means[test_labels] + 2 * spread * rng.normal(size=(len(test_labels), d))).astype(dtype),
        test_labels,
        weights,
        rng.normal(size=K) / 3 if with_bias else np.zeros(K),
        problem,
    )
    # Drawn last: the other cases are what they were.
    if with_bias and problem.feature_decay is not None and rng.random() < 0.3:
        decayed = replace(problem, bias_decay=float(10 ** rng.uniform(-3, 0.5)))
        case = replace(case, problem=decayed)
    return case


def problem(counts: tuple[float, ...], widths: tuple[int, ...], bias: bool = False, decay: float = 1e-3) -> Problem:
    return Problem("mse", counts, widths, bias, (decay,) * len(widths), decay)


def case_of(
    features: Any, labels: Any, weights: list[Array], bias: Any = None, with_bias: bool = False, dtype: Any = float
) -> Case:
    """A case whose test split is its training split, for tests that set every number themselves."""
    features, labels = np.asarray(features, dtype=dtype), np.asarray(labels, dtype=np.int64)
    K = len(weights[-1])
    counts = tuple(float(n) for n in np.bincount(labels, minlength=K))
    made = problem(counts, tuple(weight.shape[1] for weight in weights), with_bias)
    zeros = np.zeros(K) if bias is None else np.asarray(bias, dtype=float)
    return Case(features, labels, features, labels, weights, zeros, made)


def optimum(prediction: Prediction, rng: np.random.Generator) -> tuple[Case, Array]:
    """A case that sits exactly at the predicted optimum (a random member where a bottleneck leaves a choice), and
    its logits.

    The factors follow from the logits alone: all M+1 of them carry the same penalty in every direction.
    """
    made = prediction.problem
    assert prediction.logits is not None
    assert prediction.bias is not None
    assert made.feature_decay is not None
    counts, M = np.array(made.counts), made.depth
    logits = prediction.logits.copy()
    if prediction.tie is not None:
        frame = np.linalg.qr(rng.normal(size=(prediction.tie.basis.shape[1], prediction.tie.rank)))[0]
        kept = prediction.tie.basis @ frame
        logits += prediction.tie.logit_value * kept @ kept.T
    left, z, right_t = np.linalg.svd(logits * np.sqrt(counts))
    rank = int(np.sum(z > 1e-12))
    left, z, right = left[:, :rank], z[:rank], right_t[:rank].T
    energy = (made.feature_decay * np.prod(made.weight_decays) * z**2) ** (1 / (M + 1))
    frames = [np.linalg.qr(rng.normal(size=(width, rank)))[0] for width in made.widths] + [left]
    weights = [(frames[m + 1] * np.sqrt(energy / decay)) @ frames[m].T for m, decay in enumerate(made.weight_decays)]
    means = ((right / np.sqrt(counts)[:, None]) * np.sqrt(energy / made.feature_decay)) @ frames[0].T
    labels = np.repeat(np.arange(len(counts)), counts.astype(int))
    features = means[labels]
    return Case(features, labels, features, labels, weights, prediction.bias, made), logits


OPTIMA = {
    "orthogonal frame": problem((6, 6, 6, 6), (9,)),
    "simplex": problem((6, 6, 6, 6), (9,), bias=True),
    "simplex, d = K-1": problem((6, 6, 6, 6), (3, 7), bias=True),
    "two classes": problem((5, 5), (3,), bias=True),
    "general orthogonal frame": problem((12, 7, 3, 1), (8,)),
    "general, bias": problem((12, 7, 3, 1), (8, 6), bias=True),
    "general, deep": problem((12, 7, 3, 1), (8, 6, 5, 9)),
    "minority collapse": problem((40, 20, 10, 1), (6, 6, 6), decay=1e-2),
    "bottleneck": problem((12, 7, 3, 1), (9, 2)),
    "deep bottleneck": problem((12, 7, 3, 1), (9, 2, 5, 4)),
    "tie at a bottleneck": problem((6, 6, 6, 6, 6), (9, 3)),
    "tie at a bottleneck, bias": problem((6, 6, 6, 6, 6), (9, 3), bias=True),
}


# --- the reference


def layer_metrics(
    case: Case, features: Array, labels: NDArray[np.int64], m: int, target: Prediction
) -> tuple[Values, Array]:
    """Head layer m (0: the whole head) on the features at its input; also the class covariances' NC1."""
    K = case.problem.num_classes
    for weight in case.weights[:m]:
        features = np.array([weight @ x for x in features])
    suffix = np.eye(K)
    for weight in reversed(case.weights[m:]):
        suffix = suffix @ weight
    means, overall = class_means(features, labels, K)
    sigma_b, inverse, rank = between(means, overall, case.eps)
    sigma_w, per_class = within(features, labels, means)
    gram_input = as_compared(case, means, overall)
    ww, hh, wh = suffix @ suffix.T, gram_input @ gram_input.T, suffix @ gram_input.T
    nc2_w, nc2_h, nc3 = to_target(target, m, ww, hh, wh)
    effective, number = effective_nc1(means, overall, sigma_w, rank, suffix @ means.T)
    values = {
        "nc1": float(np.trace(sigma_w @ inverse)) / K if rank else None,
        "nc1_effective": effective,
        "nc1_effective_rank": number,
        "nc1_rank": rank,
        "nc1_trace": float(np.trace(sigma_w) / np.trace(sigma_b)) if rank else None,
        "nc2_w": nc2_w,
        "nc2_h": nc2_h,
        "nc3": nc3,
        "etf_w": to_etf(ww),
        "etf_h": to_etf(hh),
        "duality": distance(suffix, means - overall if case.problem.bias and not case.problem.bias_decay else means),
        "rank": numerical_rank(means),
    }
    return values, np.array([np.trace(c @ inverse) / K for c in per_class])


def as_compared(case: Case, means: Array, overall: Array) -> Array:
    """Centred with an undecayed bias on features of free sign; else the predicted means are not, and nothing is."""
    problem = case.problem
    return means - overall if problem.bias and not problem.bias_decay and problem.feature_sign == "free" else means


def reference_collapse(case: Case, target: Prediction, baseline: Prediction) -> Values:
    features = case.features.astype(np.float64)
    K = case.problem.num_classes
    first, per_class = layer_metrics(case, features, case.labels, 0, target)
    values = dict(first)
    for m in range(len(case.weights)):
        layer = layer_metrics(case, features, case.labels, m, target)[0] if m else first
        values |= {f"head.{m + 1}.{key}": value for key, value in layer.items()}
    head = whole_head(case.weights)
    means, overall = class_means(features, case.labels, K)
    gram_input = as_compared(case, means, overall)
    grams = head @ head.T, gram_input @ gram_input.T, head @ gram_input.T
    w, h, z = to_target(baseline, 0, *grams)
    values |= {"balanced.nc2_w": w, "balanced.nc2_h": h, "balanced.nc3": z}
    nc4, ties, accuracies = nearest_mean(features, case.labels, means, head, case.bias)
    margins = []
    for k in range(K):
        scores = head @ means[k] + case.bias
        margins.append(float(scores[k] - max(scores[j] for j in range(K) if j != k)))
    alive = bool(first["nc1_rank"])
    values["equinorm_w"], values["angle_w"] = frame(head)
    values["equinorm_h"], values["angle_h"] = frame(means - means.mean(axis=0)) if alive else (None, None)
    values["cosines.w"], values["cosines.h"] = cosine_counts(head), cosine_counts(gram_input) if alive else None
    values["cdnv"] = class_distance_variance(features, case.labels, means, case.eps) if alive else None
    values["gnc2"], values["unc3"] = generalised(means, head, case.eps) if alive else (None, None)
    return values | {
        "nc1_rank_predicted": target.mean_rank,
        "nc4": nc4,
        "nc4_ties": ties,
        "train_accuracy": float(np.mean([accuracies[y] for y in case.labels])),
        "class.train_accuracy": accuracies.tolist(),
        "class.nc1": per_class.tolist() if first["nc1_rank"] else None,
        "class.weight_norm_sq": [float(head[k] @ head[k]) for k in range(K)],
        "class.feature_norm_sq": [float(means[k] @ means[k]) for k in range(K)],
        "class.margin": margins,
    }


def reference_transfer(case: Case, target: Prediction) -> Values:
    K = case.problem.num_classes
    train, test = case.features.astype(np.float64), case.test_features.astype(np.float64)
    own, _ = layer_metrics(case, test, case.test_labels, 0, target)
    means, overall = class_means(train, case.labels, K)
    _, inverse, rank = between(means, overall, case.eps)
    about_train, _ = within(test, case.test_labels, means)
    nc4, ties, accuracies = nearest_mean(test, case.test_labels, means, whole_head(case.weights), case.bias)
    return {
        "test_accuracy": float(np.mean([accuracies[y] for y in case.test_labels])),
        "test.nc1": own["nc1"],
        "test.nc1_effective": own["nc1_effective"],
        "test.nc1_effective_rank": own["nc1_effective_rank"],
        "test.nc1_train_means": float(np.trace(about_train @ inverse)) / K if rank else None,
        "test.nc1_trace": own["nc1_trace"],
        "test.nc2_h": own["nc2_h"],
        "test.nc3": own["nc3"],
        "test.nc4": nc4,
        "test.nc4_ties": ties,
        "class.test_accuracy": accuracies.tolist(),
    }


def reference_gap(case: Case, target: Prediction) -> Values:
    """The gap and, for the squared loss, its ledger, each term as the difference of two losses."""
    if target.claim not in ("proven", "certified") or target.objective is None:
        return {"gap": None}
    problem, optimum = case.problem, target.objective
    assert problem.feature_decay is not None
    K, M = problem.num_classes, problem.depth
    features = case.features.astype(np.float64)
    means, _ = class_means(features, case.labels, K)
    collapsed = means[case.labels]
    head = whole_head(case.weights)
    best_bias = np.zeros(K)
    if problem.bias:
        for y in case.labels:
            best_bias += (np.eye(K)[y] - head @ means[y]) / len(case.labels) / (1 + problem.bias_decay)
    loss = reference_loss(problem, case.weights, case.bias, features, case.labels)
    if problem.loss == "ce" or target.claim == "certified":
        return {"gap": (loss - optimum) / optimum}
    with_means = reference_loss(problem, case.weights, case.bias, collapsed, case.labels)
    with_best_bias = reference_loss(problem, case.weights, best_bias, collapsed, case.labels)
    penalty = sum(
        lam / 2 * float((weight**2).sum()) for lam, weight in zip(problem.weight_decays, case.weights, strict=True)
    )
    penalty += problem.feature_decay / 2 * float((collapsed**2).sum())
    logits = np.array([head @ x for x in collapsed]).T  # K x N: the same singular values as Z D
    singular = np.linalg.svd(logits, compute_uv=False)[: min(K, *problem.widths)]
    scale = (problem.feature_decay * math.prod(problem.weight_decays)) ** (1 / (M + 1))
    schatten = (M + 1) / 2 * scale * float(np.sum(singular ** (2 / (M + 1))))
    return {
        "gap": (loss - optimum) / optimum,
        "ledger.within_class": loss - with_means,
        "ledger.duality": penalty - schatten,
        "ledger.bias": with_means - with_best_bias,
        "ledger.geometry": with_best_bias - penalty + schatten - optimum,
    }


def reference(case: Case) -> Values:
    """Every metric of a case, the slow way."""
    target, baseline = predict(case.problem), predict(case.problem.balanced())
    values = reference_collapse(case, target, baseline) | reference_transfer(case, target)
    values |= reference_gap(case, target)
    values["data_term"] = reference_data_term(
        case.problem.loss, whole_head(case.weights), case.bias, case.features, case.labels
    )
    values["loss"] = reference_loss(case.problem, case.weights, case.bias, case.features, case.labels)
    if case.problem.decay_mode == "parameters" and len(case.weights) > 1:
        values |= reference_nc1_bounds(case.weights, case.features, case.labels, case.problem.num_classes, case.eps)
    return values | {"balance": reference_balance(case.weights, case.problem.weight_decays)}


# --- the code under test, and the comparison


def torch_head(weights: list[Array], bias: Array) -> Head:
    return Head([torch.from_numpy(weight) for weight in weights], torch.from_numpy(bias))


def measured(case: Case) -> Values:
    """Every metric of a case from ncrun.metrics, called as an evaluator calls it."""
    problem, head = case.problem, torch_head(case.weights, case.bias)
    target, baseline = predict(problem), predict(problem.balanced())
    features, labels = torch.from_numpy(case.features), torch.from_numpy(case.labels)
    row, means = training_metrics(features, labels, head, Objective.of(problem), target, baseline, head.weights)
    tested = transfer_metrics(
        torch.from_numpy(case.test_features), torch.from_numpy(case.test_labels), head, means, target
    )
    return row | tested


# Distances lie between 0 and 2, margins, angles and ledger terms are differences of numbers of order 1: there a
# deviation is absolute.
DISTANCES = ("nc2_w", "nc2_h", "nc3", "etf_w", "etf_h", "duality", "equinorm_w", "equinorm_h", "angle_w", "angle_h")
ORDER_ONE = (*DISTANCES, "bias", "geometry", "within_class", "margin", "gap")


def deviations(ours: Values, theirs: Values) -> dict[str, float]:
    """Per key |a - b| / max(|b|, floor), the largest of a list; inf where only one side is null or whole numbers
    differ.
    """
    if ours.keys() != theirs.keys():
        raise AssertionError(f"keys differ: {sorted(ours.keys() ^ theirs.keys())}")
    floors = {key: 1.0 if key.endswith(ORDER_ONE) else 1e-12 for key in ours}
    return {key: _deviation(ours[key], theirs[key], floors[key]) for key in ours}


def _deviation(ours: Any, theirs: Any, floor: float) -> float:
    if isinstance(ours, list) and isinstance(theirs, list):
        if len(ours) != len(theirs):
            return math.inf
        return max(_deviation(a, b, floor) for a, b in zip(ours, theirs, strict=True))
    if ours is None or theirs is None:
        return 0.0 if ours is theirs else math.inf
    if isinstance(ours, int) and isinstance(theirs, int):
        return 0.0 if ours == theirs else math.inf
    return abs(float(ours) - float(theirs)) / max(abs(float(theirs)), floor)


def tolerance(key: str, case: Case) -> float:
    """How far the two may be apart.

    1e-7 for distances: the reference takes the root of 2 - 2 cos near zero. 1e-5 for the traces of the deeper head
    layers on float32 features, and what is made of them: their deviations go through the layers in the training
    precision. 1e-8 for the rest:
    the reference pays for its explicit Sigma_B with the square of the condition number.
    """
    if key.endswith(("nc2_w", "nc2_h", "nc3")):
        return 1e-7
    deep_trace = key in ("nc1_bound", "nc1_trace_bound") or (key.endswith("nc1_trace") and key.startswith("head."))
    if deep_trace and case.features.dtype == np.float32:
        return 1e-5
    return 1e-8
