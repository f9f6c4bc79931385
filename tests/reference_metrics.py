"""A slow, independent reference for every metric, written from the definitions: float64 numpy, one sample at a
time, explicit d x d scatter matrices and pseudo-inverses. It shares nothing with ncrun.metrics, which must agree
with it on random cases.

What it does take from ncrun is the prediction (a Geometry), because that is the metrics' input, not their result.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ncrun import metrics
from ncrun.objective import Objective
from ncrun.theory import Geometry, Problem, predict

Array = NDArray[np.float64]
Values = dict[str, Any]


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


# --- random cases


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
    return Case(
        (means[labels] + spread * rng.normal(size=(len(labels), d))).astype(dtype),
        labels,
        (means[test_labels] + 2 * spread * rng.normal(size=(len(test_labels), d))).astype(dtype),
        test_labels,
        weights,
        rng.normal(size=K) / 3 if with_bias else np.zeros(K),
        problem,
    )


# --- the reference


def class_means(features: Array, labels: NDArray[np.int64], K: int) -> tuple[Array, Array]:
    """(K, d) class means and the mean of all samples."""
    sums, counts = np.zeros((K, features.shape[1])), np.zeros(K)
    for x, y in zip(features, labels, strict=True):
        sums[y] += x
        counts[y] += 1
    return sums / counts[:, None], sums.sum(axis=0) / len(features)


def between(means: Array, overall: Array, eps: float) -> tuple[Array, Array, int]:
    """Sigma_B (d x d), its pseudo-inverse over the directions with s_i > K eps s_1, and their number.

    There are K-1 at most, since sum_k n_k (h_k - h_G) = 0, and none within the rounding of the means themselves.
    """
    K = len(means)
    sigma = np.zeros((means.shape[1],) * 2)
    for mean in means:
        sigma += np.outer(mean - overall, mean - overall) / K
    s = np.linalg.svd(means - overall, compute_uv=False)
    rounding = 1e-13 * float(np.abs(means).max())
    rank = min(K - 1, int(np.sum(s > max(K * eps * s[0], rounding))))
    if rank == 0:
        return sigma, sigma, 0
    cutoff = (s[rank - 1] / s[0]) ** 2 / 2  # eigenvalues of Sigma_B are squares of the means' singular values
    inverse: Array = np.linalg.pinv(sigma, rcond=cutoff, hermitian=True).astype(np.float64)
    return sigma, inverse, rank


def within(features: Array, labels: NDArray[np.int64], means: Array) -> tuple[Array, list[Array]]:
    """Sigma_W (d x d) over all samples, and the covariance of each class, about the given class means."""
    K, d = means.shape
    per_class, counts = [np.zeros((d, d)) for _ in range(K)], np.zeros(K)
    for x, y in zip(features, labels, strict=True):
        per_class[y] += np.outer(x - means[y], x - means[y])
        counts[y] += 1
    total = np.sum(per_class, axis=0) / counts.sum()
    return total, [scatter / count for scatter, count in zip(per_class, counts, strict=True)]


def distance(measured: Array, target: Array) -> float | None:
    """|| measured/|measured| - target/|target| ||."""
    a, b = math.sqrt(float((measured**2).sum())), math.sqrt(float((target**2).sum()))
    return None if a == 0 or b == 0 else math.sqrt(float(((measured / a - target / b) ** 2).sum()))


def family_distance(measured: Array, fixed: Array, value: float, basis: Array, rank: int) -> float | None:
    """Distance to the nearest of all fixed + value P, P a projection of that rank in the basis' span.

    By Ky Fan, the best inner product with P is the sum of the largest eigenvalues; no member is ever formed.
    """
    size = math.sqrt(float((measured**2).sum()))
    if size == 0:
        return None
    inside = basis.T @ measured @ basis
    best = float(np.sort(np.linalg.eigvalsh((inside + inside.T) / 2))[-rank:].sum())
    member_size = math.sqrt(float((fixed**2).sum()) + rank * value**2)
    cosine = (float((measured * fixed).sum()) + value * best) / size / member_size
    return math.sqrt(max(0.0, 2 - 2 * cosine))


def to_target(target: Geometry, m: int, ww: Array, hh: Array, wh: Array) -> list[float | None]:
    """nc2_w, nc2_h, nc3 of head layer m."""
    if not target.layers or target.logits is None:
        return [None, None, None]
    fixed = [target.layers[m].weight_gram, target.layers[m].feature_gram, target.logits]
    tie = target.tie
    if tie is None:
        return [distance(a, b) for a, b in zip((ww, hh, wh), fixed, strict=True)]
    values = (tie.weight_values[m], tie.feature_values[m], tie.logit_value)
    return [
        family_distance(a, b, value, tie.basis, tie.rank)
        for a, b, value in zip((ww, hh, wh), fixed, values, strict=True)
    ]


def to_etf(gram: Array) -> float | None:
    K = len(gram)
    etf = np.array([[1 - 1 / K if i == j else -1 / K for j in range(K)] for i in range(K)])
    centred = gram - gram.mean(axis=0)[None, :] - gram.mean(axis=1)[:, None] + gram.mean()
    return distance(centred, etf)


def numerical_rank(means: Array) -> int:
    """Singular values above a thousandth of the largest, as roots of the Gram matrix' eigenvalues."""
    values = np.linalg.eigvalsh(means @ means.T)
    return int(np.sum(values > 1e-6 * values[-1]))


def frame(vectors: Array) -> tuple[float | None, float | None]:
    """Standard deviation over mean of the norms, and the mean deviation of the cosines from -1/(K-1)."""
    norms = [math.sqrt(float(v @ v)) for v in vectors]
    if min(norms) == 0:
        return None, None
    pairs = list(itertools.permutations(range(len(vectors)), 2))
    angles = [abs(vectors[i] @ vectors[j] / norms[i] / norms[j] + 1 / (len(vectors) - 1)) for i, j in pairs]
    return float(np.std(norms, ddof=1) / np.mean(norms)), float(np.mean(angles))


def class_distance_variance(features: Array, labels: NDArray[np.int64], means: Array, eps: float) -> float | None:
    """(Var_i + Var_j) / (2 |h_i - h_j|^2), averaged over all pairs; none where two means are equal up to rounding."""
    K = len(means)
    spread = [np.mean([np.sum((x - means[k]) ** 2) for x in features[labels == k]]) for k in range(K)]
    pairs = {(i, j): float(np.sum((means[i] - means[j]) ** 2)) for i, j in itertools.combinations(range(K), 2)}
    if min(pairs.values()) <= (K * eps) ** 2 * max(pairs.values()):
        return None
    return float(np.mean([(spread[i] + spread[j]) / 2 / apart for (i, j), apart in pairs.items()]))


def nearest_mean(
    features: Array, labels: NDArray[np.int64], means: Array, head: Array, bias: Array
) -> tuple[float, float, Array]:
    """nc4, the share of ties, and the accuracy of each class."""
    K = len(means)
    disagree, tied = 0, 0
    right, counts = np.zeros(K), np.zeros(K)
    for x, y in zip(features, labels, strict=True):
        logits = np.array([head[k] @ x + bias[k] for k in range(K)])
        distances = np.array([np.sum((x - means[k]) ** 2) for k in range(K)])
        by_logit = set(np.flatnonzero(logits >= logits.max() - 1e-13 * np.abs(logits).max()))
        by_mean = set(np.flatnonzero(distances <= distances.min() + 1e-13 * distances.max()))
        disagree += not by_logit & by_mean
        tied += len(by_logit) > 1 or len(by_mean) > 1
        right[y] += int(np.argmax(logits)) == y
        counts[y] += 1
    return disagree / len(features), tied / len(features), right / counts


def layer_metrics(
    case: Case, features: Array, labels: NDArray[np.int64], m: int, target: Geometry
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
    gram_input = means - overall if case.problem.bias else means
    ww, hh, wh = suffix @ suffix.T, gram_input @ gram_input.T, suffix @ gram_input.T
    nc2_w, nc2_h, nc3 = to_target(target, m, ww, hh, wh)
    values = {
        "nc1": float(np.trace(sigma_w @ inverse)) / K if rank else None,
        "nc1_rank": rank,
        "nc1_trace": float(np.trace(sigma_w) / np.trace(sigma_b)) if rank else None,
        "nc2_w": nc2_w,
        "nc2_h": nc2_h,
        "nc3": nc3,
        "etf_w": to_etf(ww),
        "etf_h": to_etf(hh),
        "duality": distance(suffix, gram_input),
        "rank": numerical_rank(means),
    }
    return values, np.array([np.trace(c @ inverse) / K for c in per_class])


def reference_collapse(case: Case, target: Geometry, baseline: Geometry) -> Values:
    features = case.features.astype(np.float64)
    K = case.problem.num_classes
    first, per_class = layer_metrics(case, features, case.labels, 0, target)
    values = dict(first)
    for m in range(len(case.weights)):
        layer = layer_metrics(case, features, case.labels, m, target)[0] if m else first
        values |= {f"head.{m + 1}.{key}": value for key, value in layer.items()}
    head = whole_head(case.weights)
    means, overall = class_means(features, case.labels, K)
    gram_input = means - overall if case.problem.bias else means
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
    values["cdnv"] = class_distance_variance(features, case.labels, means, case.eps) if alive else None
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


def reference_transfer(case: Case, target: Geometry) -> Values:
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
        "test.nc1_train_means": float(np.trace(about_train @ inverse)) / K if rank else None,
        "test.nc1_trace": own["nc1_trace"],
        "test.nc2_h": own["nc2_h"],
        "test.nc3": own["nc3"],
        "test.nc4": nc4,
        "test.nc4_ties": ties,
        "class.test_accuracy": accuracies.tolist(),
    }


def whole_head(weights: list[Array]) -> Array:
    """W_M .. W_1."""
    head = weights[0]
    for weight in weights[1:]:
        head = weight @ head
    return head


def reference_loss(
    problem: Problem, weights: list[Array], bias: Array, features: Array, labels: NDArray[np.int64]
) -> float:
    """The objective with decays on head and features, one sample at a time."""
    assert problem.feature_decay is not None
    head, data, norm_sq = whole_head(weights), 0.0, 0.0
    for x, y in zip(features.astype(np.float64), labels, strict=True):
        z = head @ x + bias
        if problem.loss == "mse":
            z[y] -= 1
            data += float(z @ z) / 2
        else:
            data += float(z.max() + np.log(np.sum(np.exp(z - z.max()))) - z[y])
        norm_sq += float(x @ x)
    decay = sum(lam / 2 * float((weight**2).sum()) for lam, weight in zip(problem.weight_decays, weights, strict=True))
    return data / len(features) + decay + problem.feature_decay / 2 * norm_sq


def reference_gap(case: Case, target: Geometry) -> Values:
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
            best_bias += (np.eye(K)[y] - head @ means[y]) / len(case.labels)
    loss = reference_loss(problem, case.weights, case.bias, features, case.labels)
    if problem.loss == "ce":
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


def reference_balance(weights: list[Array], decays: tuple[float, ...]) -> float | None:
    """The largest relative violation of lam_{m+1} W_{m+1}^T W_{m+1} = lam_m W_m W_m^T."""
    found = []
    for m in range(len(weights) - 1):
        below = decays[m] * np.einsum("ij,kj->ik", weights[m], weights[m])
        above = decays[m + 1] * np.einsum("ji,jk->ik", weights[m + 1], weights[m + 1])
        found.append(math.sqrt(float(((above - below) ** 2).sum())) / math.sqrt(float((below**2).sum())))
    return max(found) if found else None


def reference(case: Case) -> Values:
    """Every metric of a case, the slow way."""
    target, baseline = predict(case.problem), predict(case.problem.balanced())
    values = reference_collapse(case, target, baseline) | reference_transfer(case, target)
    values |= reference_gap(case, target)
    return values | {"balance": reference_balance(case.weights, case.problem.weight_decays)}


# --- the code under test, and the comparison


def torch_head(weights: list[Array], bias: Array) -> metrics.Head:
    return metrics.Head([torch.from_numpy(weight) for weight in weights], torch.from_numpy(bias))


def measured(case: Case) -> Values:
    """Every metric of a case from ncrun.metrics, called as an evaluator calls it."""
    problem, head = case.problem, torch_head(case.weights, case.bias)
    target, baseline = predict(problem), predict(problem.balanced())
    N = len(case.labels)
    objective = Objective(problem.loss, problem.decay_mode, problem.weight_decays, problem.feature_decay, N)
    labels = torch.from_numpy(case.labels)
    split = metrics.scan(torch.from_numpy(case.features), labels, head, data_term=objective.data_sum)
    values: Values = {}
    values |= metrics.collapse_metrics(split, head, target, baseline)
    values |= metrics.transfer_metrics(
        torch.from_numpy(case.test_features), torch.from_numpy(case.test_labels), head, split.means, target
    )
    assert split.data_sum is not None
    norm_sq = float((case.features.astype(np.float64) ** 2).sum())
    loss = split.data_sum / N + float(objective.penalty(head.weights, head.weights, norm_sq))
    values |= metrics.gap_metrics(split, head, target, loss)
    return values | {"balance": metrics.head_balance(head, problem.weight_decays)}


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
    layers on float32 features, whose deviations go through the layers in the training precision. 1e-8 for the rest:
    the reference pays for its explicit Sigma_B with the square of the condition number.
    """
    if key.endswith(("nc2_w", "nc2_h", "nc3")):
        return 1e-7
    if key.endswith("nc1_trace") and key.startswith("head.") and case.features.dtype == np.float32:
        return 1e-5
    return 1e-8
