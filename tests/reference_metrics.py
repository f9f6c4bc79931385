"""A slow, independent reference for every metric, written from the definitions: float64 numpy, one sample at a
time, explicit d x d scatter matrices and pseudo-inverses. It shares nothing with ncrun.metrics, which must agree
with it on random cases.

What it does take from ncrun is the Prediction, because that is the metrics' input, not their result.
"""

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from ncrun.theory import Prediction, Problem

Array = NDArray[np.float64]


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


def to_target(target: Prediction, m: int, ww: Array, hh: Array, wh: Array) -> list[float | None]:
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
    """Singular values above a thousandth of the largest and before the first gap of a factor of 30."""
    return before_gap(np.linalg.svd(means, compute_uv=False))


def before_gap(singular: Array) -> int:
    """Counted one by one."""
    if singular.size == 0 or singular[0] == 0:
        return 0
    number = 1
    while number < len(singular) and singular[number] > max(1e-3 * singular[0], singular[number - 1] / 30):
        number += 1
    return number


def effective_nc1(
    means: Array, overall: Array, sigma_w: Array, rank: int, scores: Array | None
) -> tuple[float | None, int]:
    """tr(Sigma_W P) / K over the effective ones of the `rank` directions, P their pseudo-inverse from eigenvectors of
    Sigma_B; and their number. scores: (K, K), the class means' logits without a bias; None where nothing reads them."""
    _, singular, axes = np.linalg.svd(means - overall)
    number = before_gap(singular[:rank])
    spread = None if scores is None else float(np.abs(scores - scores.mean(axis=1)[:, None]).max())
    if rank == 0 or (spread is not None and spread <= 1e-8):
        return None, number
    return sum(float(axes[i] @ sigma_w @ axes[i]) / singular[i] ** 2 for i in range(number)), number


def frame(vectors: Array) -> tuple[float | None, float | None]:
    """Standard deviation over mean of the norms, and the mean deviation of the cosines from -1/(K-1)."""
    norms = [math.sqrt(float(v @ v)) for v in vectors]
    if min(norms) == 0:
        return None, None
    pairs = list(itertools.permutations(range(len(vectors)), 2))
    angles = [abs(vectors[i] @ vectors[j] / norms[i] / norms[j] + 1 / (len(vectors) - 1)) for i, j in pairs]
    return float(np.std(norms, ddof=1) / np.mean(norms)), float(np.mean(angles))


def cosine_counts(vectors: Array) -> list[int] | None:
    """Pairs of vectors, not counting those that are nothing beside the longest, in 41 bins from -1 to 1."""
    squares = [float(v @ v) for v in vectors]
    kept = [v for v, square in zip(vectors, squares, strict=True) if square > 1e-9 * max(squares)]
    counts = [0] * 41
    for a, b in itertools.combinations(kept, 2):
        cosine = float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))
        counts[min(max(math.floor((cosine + 1) / 2 * 41), 0), 40)] += 1
    return counts if len(kept) > 1 else None


def class_distance_variance(features: Array, labels: NDArray[np.int64], means: Array, eps: float) -> float | None:
    """(Var_i + Var_j) / (2 |h_i - h_j|^2), averaged over all pairs; none where two means are equal up to rounding."""
    K = len(means)
    spread = [np.mean([np.sum((x - means[k]) ** 2) for x in features[labels == k]]) for k in range(K)]
    pairs = {(i, j): float(np.sum((means[i] - means[j]) ** 2)) for i, j in itertools.combinations(range(K), 2)}
    if min(pairs.values()) <= (K * eps) ** 2 * max(pairs.values()):
        return None
    return float(np.mean([(spread[i] + spread[j]) / 2 / apart for (i, j), apart in pairs.items()]))


def generalised(means: Array, head: Array, eps: float) -> tuple[float | None, float | None]:
    """GNC2 and UNC3, pair by pair and class by class, about the unweighted mean of the class means."""
    K, centred = len(means), means - means.mean(axis=0)
    norms = [math.sqrt(float(m @ m)) for m in centred]
    if min(norms) <= K * eps * max(norms):
        return None, None
    units = [m / norm for m, norm in zip(centred, norms, strict=True)]
    apart = [math.sqrt(float((a - b) @ (a - b))) for a, b in itertools.combinations(units, 2)]
    rows = [math.sqrt(float(w @ w)) for w in head]
    cosines = [float(w @ unit) / size if size else 0.0 for w, unit, size in zip(head, units, rows, strict=True)]
    gnc2 = unc3 = None
    if min(apart) > K * eps:
        logs = [-math.log(distance) for distance in apart]
        gnc2 = (float(np.std(logs, ddof=1)) if len(logs) > 1 else 0.0) / abs(float(np.mean(logs)))
    if min(rows) > 0 and abs(float(np.mean(cosines))) > K * eps:
        unc3 = float(np.std(cosines, ddof=1)) / abs(float(np.mean(cosines)))
    return gnc2, unc3


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


def whole_head(weights: list[Array]) -> Array:
    """W_M .. W_1."""
    head = weights[0]
    for weight in weights[1:]:
        head = weight @ head
    return head


def reference_data_term(loss: str, head: Array, bias: Array, features: Array, labels: NDArray[np.int64]) -> float:
    """The data term of the objective, one sample at a time."""
    total = 0.0
    for x, y in zip(features.astype(np.float64), labels, strict=True):
        z = head @ x + bias
        if loss == "mse":
            z[y] -= 1
            total += float(z @ z) / 2
        else:
            total += float(z.max() + np.log(np.sum(np.exp(z - z.max()))) - z[y])
    return total / len(features)


def reference_loss(
    problem: Problem, weights: list[Array], bias: Array, features: Array, labels: NDArray[np.int64]
) -> float:
    """The objective; with decay_mode "parameters" that of a network whose only parameters are these weights."""
    decay = sum(lam / 2 * float((weight**2).sum()) for lam, weight in zip(problem.weight_decays, weights, strict=True))
    norm_sq = sum(float(x @ x) for x in features.astype(np.float64))
    data_term = reference_data_term(problem.loss, whole_head(weights), bias, features, labels)
    decay += problem.bias_decay / 2 * float((bias**2).sum())
    return data_term + decay + (problem.feature_decay or 0.0) / 2 * norm_sq


def reference_balance(weights: list[Array], decays: tuple[float, ...]) -> float | None:
    """The largest relative violation of lam_{m+1} W_{m+1}^T W_{m+1} = lam_m W_m W_m^T."""
    found = []
    for m in range(len(weights) - 1):
        below = decays[m] * np.einsum("ij,kj->ik", weights[m], weights[m])
        above = decays[m + 1] * np.einsum("ji,jk->ik", weights[m + 1], weights[m + 1])
        found.append(math.sqrt(float(((above - below) ** 2).sum())) / math.sqrt(float((below**2).sum())))
    return max(found) if found else None


def reference_nc1_bounds(
    weights: list[Array], features: Array, labels: NDArray[np.int64], K: int, eps: float
) -> dict[str, float | None]:
    """What tr(Sigma_W pinv(Sigma_B)) / K and tr Sigma_W / tr Sigma_B of the last layer's input cannot exceed: the
    smallest of their bounds, each made of explicit projections on the largest right singular vectors of W_M."""
    *below, last = weights
    inputs = features.astype(np.float64)
    for weight in below[:-1]:
        inputs = np.array([weight @ x for x in inputs])

    def spread(points: Array) -> float:
        means, _ = class_means(points, labels, K)
        return sum(float((x - means[y]) @ (x - means[y])) for x, y in zip(points, labels, strict=True))

    top = np.array([below[-1] @ x for x in inputs])
    means, overall = class_means(top, labels, K)
    sigma_b, _, rank = between(means, overall, eps)
    if rank == 0:
        return {"nc1_bound": None, "nc1_trace_bound": None}
    smallest = np.sort(np.linalg.eigvalsh(sigma_b))[-rank]
    unbalanced = np.linalg.norm(last.T @ last - below[-1] @ below[-1].T, ord=2)
    right = np.linalg.svd(last)[2]
    bounds = []
    for j in range(min(last.shape) + 1):
        outside = np.eye(len(right)) - right[:j].T @ right[:j]
        rest = np.linalg.norm(last @ outside, ord=2) ** 2 + unbalanced
        inside = np.linalg.pinv(last @ right[:j].T @ right[:j], rcond=1e-14) if j else np.zeros_like(last.T)
        logits = spread(np.array([last @ x for x in top]))
        bounds.append(np.linalg.norm(inside, ord=2) ** 2 * logits + rest * spread(inputs))
    largest = float(min(bounds)) / len(labels)
    return {"nc1_bound": largest / K / float(smallest), "nc1_trace_bound": largest / float(np.trace(sigma_b))}
