"""The collapse metrics of one split: pure functions of (features, labels, head, target).

Conventions (they are part of a number's meaning):
- nc1 = tr(Sigma_W pinv(Sigma_B)) / K. Sigma_W averages over all samples; Sigma_B averages over classes, unweighted,
  about the sample-weighted mean of the features. The choice of Dang et al. 2023 and 2024.
- nc1_trace = tr Sigma_W / tr Sigma_B; it also sees variance outside the span of the class means (decisive for K = 2).
- class.nc1: as nc1, with the covariance of one class in Sigma_W's place, since sample weights hide minorities.
- nc2_w, nc2_h, nc3: distances of W W^T, Hbar^T Hbar and W Hbar to the prediction, each divided by its Frobenius norm.
  Hbar is centred by the sample-weighted mean in settings with a bias and raw without.
- etf_w, etf_h: distance to the simplex ETF. duality = ||N(W) - N(Hbar^T)||.
- equinorm_w, equinorm_h: standard deviation (unbiased) of the norms over their mean; angle_w, angle_h: mean over pairs
  of |cos + 1/(K-1)|; of the classifier's rows as they are, of the class means centred by their unweighted mean
  (Papyan, Han and Donoho 2020). cdnv: see ncrun.metrics.layers.
- nc4: share of samples on which classifier and nearest class mean disagree; nc4_ties: share on which one of them is
  tied. A tie counts as agreement if the two sets of best classes meet.
- head.m.*: the same for W_M..W_m and its input. head.1 equals the top level. head.m.rank: of the class means at that
  input, singular values above 1e-3 of the largest.
A value that is not determined is None, never a made-up number.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ncrun.metrics.distance import etf_distance, shape_distance, target_distances
from ncrun.metrics.layers import class_distance_variance, numerical_rank
from ncrun.metrics.ledger import squared_loss_ledger
from ncrun.metrics.scatter import BetweenDirections, ClassMeans, between_directions, class_means, deviations
from ncrun.theory import Geometry
from ncrun.theory.geometry import class_margins

DataTerm = Callable[[Tensor, Tensor], Tensor]
Metrics = dict[str, float | int | list[float | None] | None]


@dataclass(frozen=True)
class Head:
    """A head in float64. weights: W_1 .. W_M, W_1 reading the features. bias: (K,), zeros if it has none.

    relu: with a ReLU between the layers; such a head is measured layer by layer (ncrun.metrics.relu_head).
    """

    weights: list[Tensor]
    bias: Tensor
    relu: bool = False

    def suffixes(self) -> list[Tensor]:
        """W_M..W_m for m = 1..M; the first is the whole head, (K, d)."""
        products = [self.weights[-1]]
        for weight in reversed(self.weights[:-1]):
            products.append(products[-1] @ weight)
        return products[::-1]


@dataclass(frozen=True)
class Split:
    """What one pass over a split found. Sums over samples, float64.

    means: the split's own class means. directions: of Sigma_B at the input of each head layer.
    within: (K, M), per class and head layer, sum over the class' samples of dev^T pinv(Sigma_B) dev.
    trace: (K, M), sum of squared deviations from the class mean.
    logit_deviation_sq: ||W (H - Hbar)||^2. data_sum: the loss' data term, summed over samples (None if not asked for).
    correct: (K,), samples classified right. disagree, tied: samples, for nc4. precision: of the features.
    """

    means: ClassMeans
    directions: list[BetweenDirections]
    within: Tensor
    trace: Tensor
    logit_deviation_sq: float
    data_sum: float | None
    correct: Tensor
    disagree: int
    tied: int
    precision: torch.dtype


def scan(
    features: Tensor,
    labels: Tensor,
    head: Head,
    about: ClassMeans | None = None,
    data_term: DataTerm | None = None,
) -> Split:
    """One pass over (N, d) features with (N,) labels: everything that needs the samples.

    about: measure deviations, directions and nearest means about these class means (the training set's) instead of
    the own.
    data_term: (logits, labels) -> the loss' data term summed over the samples.
    Raises ValueError if a class has no sample.
    """
    own = class_means(features, labels, len(head.bias))
    means = about or own
    suffixes = head.suffixes()
    depth, K = len(suffixes), len(head.bias)
    directions, pulled_back = [], []
    at_layer = means
    for m, weight in enumerate(head.weights):
        found = between_directions(at_layer, features.dtype)
        directions.append(found)
        axes = found.axes / found.values.sqrt()  # so that squared projections are NC1 terms at once
        for below in reversed(head.weights[:m]):  # back to the features, K columns at a time
            axes = below.T @ axes
        pulled_back.append(axes)
        at_layer = at_layer.mapped(weight)
    class_logits = means.means @ suffixes[0].T + head.bias
    centred = means.means - means.overall
    gram = centred @ centred.T
    gaps = (gram.diag()[:, None] + gram.diag()[None, :] - 2 * gram).clamp(min=0)  # squared distances between means
    eps = torch.finfo(features.dtype).eps
    # All that is read off a deviation comes from one product with these columns, and not from one product each.
    columns = [*pulled_back, suffixes[0].T, centred.T]
    projection, widths = torch.cat(columns, dim=1), [column.shape[1] for column in columns]
    hidden = [weight.to(features.dtype).T for weight in head.weights[:-1]]

    within = torch.zeros(K, depth, dtype=torch.float64, device=features.device)
    trace = torch.zeros_like(within)
    correct = torch.zeros(K, dtype=torch.float64, device=features.device)
    logit_deviation_sq = torch.zeros((), dtype=torch.float64, device=features.device)
    data_sum = torch.zeros_like(logit_deviation_sq)
    disagree, tied = torch.zeros_like(logit_deviation_sq), torch.zeros_like(logit_deviation_sq)
    for y, deviation in deviations(features, labels, means.means):
        *into_directions, logit_deviation, along_means = torch.split(deviation @ projection, widths, dim=1)
        for m, projected in enumerate(into_directions):
            within[:, m].index_add_(0, y, projected.square().sum(dim=1))
        norm_sq = torch.linalg.vector_norm(deviation, dim=1).square()
        trace[:, 0].index_add_(0, y, norm_sq)
        inner = deviation.to(features.dtype)  # already centred, so the training precision loses nothing that matters
        for m, weight in enumerate(hidden, start=1):
            inner = inner @ weight
            trace[:, m].index_add_(0, y, torch.linalg.vector_norm(inner, dim=1, dtype=torch.float64).square())
        logit_deviation_sq += logit_deviation.square().sum()
        logits = class_logits[y] + logit_deviation
        if data_term is not None:
            data_sum += data_term(logits, y)
        correct.index_add_(0, y, (logits.argmax(dim=1) == y).double())
        # ||x - mu_j||^2 from the deviation and the means' differences: no cancellation near collapse
        to_mean = norm_sq[:, None] + gaps[y] + 2 * (along_means.gather(1, y[:, None]) - along_means)
        best_logit = logits >= logits.amax(dim=1, keepdim=True) - eps * logits.abs().amax(dim=1, keepdim=True)
        scale = to_mean.abs().amax(dim=1, keepdim=True)
        best_mean = to_mean <= to_mean.amin(dim=1, keepdim=True) + eps * scale
        disagree += (~(best_logit & best_mean).any(dim=1)).sum()
        tied += ((best_logit.sum(dim=1) > 1) | (best_mean.sum(dim=1) > 1)).sum()
    return Split(
        own,
        directions,
        within,
        trace,
        float(logit_deviation_sq),
        float(data_sum) if data_term is not None else None,
        correct,
        int(disagree),
        int(tied),
        features.dtype,
    )


def collapse_metrics(split: Split, head: Head, target: Geometry, baseline: Geometry) -> Metrics:
    """Every metric of the training split.

    target: the prediction for this run; baseline: the prediction for equal counts (balanced.*).
    """
    counts = split.means.counts
    N, K = float(counts.sum()), len(counts)
    centred = target.problem.bias
    metrics: Metrics = {}
    suffixes = head.suffixes()
    means = split.means
    for m, (suffix, found) in enumerate(zip(suffixes, split.directions, strict=True)):
        alive = found.rank > 0
        gram_input = means.gram_input(centred, found.rank)
        weight_gram, feature_gram = _numpy(suffix @ suffix.T), _numpy(gram_input @ gram_input.T)
        product = _numpy(suffix @ gram_input.T)
        nc2_w, nc2_h, nc3 = target_distances(target, m, weight_gram, feature_gram, product)
        layer: Metrics = {
            "nc1": float(split.within[:, m].sum()) / N / K if alive else None,
            "nc1_rank": found.rank,
            "nc1_trace": float(split.trace[:, m].sum()) / N / found.trace if alive else None,
            "nc2_w": nc2_w,
            "nc2_h": nc2_h,
            "nc3": nc3,
            "etf_w": etf_distance(weight_gram),
            "etf_h": etf_distance(feature_gram),
            "duality": shape_distance(_numpy(suffix), _numpy(gram_input)),
            "rank": numerical_rank(means.means),
        }
        metrics |= {f"head.{m + 1}.{key}": value for key, value in layer.items()}
        if m == 0:
            metrics |= layer
            metrics["equinorm_w"], metrics["angle_w"] = _frame(suffix)
            centred_means = means.means - means.means.mean(dim=0)
            metrics["equinorm_h"], metrics["angle_h"] = _frame(centred_means) if alive else (None, None)
            metrics["cdnv"] = class_distance_variance(means, split.trace[:, 0], split.precision) if alive else None
            raw = _numpy(means.means.square().sum(dim=1))
            scores = _numpy(means.means @ suffix.T + head.bias)
            metrics["class.nc1"] = _list(split.within[:, 0] / counts / K) if alive else None
            metrics["class.weight_norm_sq"] = _list(suffix.square().sum(dim=1))
            metrics["class.feature_norm_sq"] = raw.tolist()
            metrics["class.margin"] = class_margins(scores.T).tolist()
            w, h, z = target_distances(baseline, 0, weight_gram, feature_gram, product)
            metrics |= {"balanced.nc2_w": w, "balanced.nc2_h": h, "balanced.nc3": z}
        means = means.mapped(head.weights[m])
    metrics["nc1_rank_predicted"] = target.mean_rank
    metrics["nc4"] = split.disagree / N
    metrics["nc4_ties"] = split.tied / N
    metrics["train_accuracy"] = float(split.correct.sum()) / N
    metrics["class.train_accuracy"] = _list(split.correct / counts)
    return metrics


def transfer_metrics(
    features: Tensor, labels: Tensor, head: Head, train_means: ClassMeans, target: Geometry
) -> Metrics:
    """The metrics of a test split, against the geometry predicted from the training counts.

    test.nc1 is about the test split's own class means; test.nc1_train_means, test.nc4 and test.nc4_ties about the
    training set's.
    """
    # Of the test split only the features themselves are measured; of a ReLU head, the last layer's input.
    if head.relu:
        for weight in head.weights[:-1]:
            features = (features.to(weight.dtype) @ weight.T).relu()
        head = Head(head.weights[-1:], head.bias)
    whole = Head([head.suffixes()[0]], head.bias)
    own = scan(features, labels, whole)
    about_train = scan(features, labels, whole, about=train_means)
    centred = target.problem.bias
    N, K = len(features), len(own.means.counts)
    gram_input = own.means.gram_input(centred, own.directions[0].rank)
    suffix = whole.weights[0]
    nc2_w, nc2_h, nc3 = target_distances(
        target, 0, _numpy(suffix @ suffix.T), _numpy(gram_input @ gram_input.T), _numpy(suffix @ gram_input.T)
    )
    del nc2_w  # the classifier has no test version

    def nc1(split: Split) -> float | None:
        return float(split.within[:, 0].sum()) / N / K if split.directions[0].rank else None

    return {
        "test_accuracy": float(own.correct.sum()) / N,
        "test.nc1": nc1(own),
        "test.nc1_train_means": nc1(about_train),
        "test.nc1_trace": float(own.trace[:, 0].sum()) / N / own.directions[0].trace
        if own.directions[0].rank
        else None,
        "test.nc2_h": nc2_h,
        "test.nc3": nc3,
        "test.nc4": about_train.disagree / N,
        "test.nc4_ties": about_train.tied / N,
        "class.test_accuracy": _list(own.correct / own.means.counts),
    }


def gap_metrics(split: Split, head: Head, target: Geometry, loss: float) -> Metrics:
    """The relative gap to the proven or certified optimum, else None; squared loss on a linear head: its ledger."""
    if not target.is_lower_bound or target.objective is None:
        return {"gap": None}
    if target.problem.loss != "mse" or head.relu:
        return {"gap": loss / target.objective - 1}
    ledger = squared_loss_ledger(
        target.problem,
        target.objective,
        [_numpy(weight) for weight in head.weights],
        _numpy(head.bias),
        _numpy(split.means.means),
        split.logit_deviation_sq,
        float(split.trace[:, 0].sum()),
    )
    return {
        "gap": loss / target.objective - 1,
        "ledger.within_class": ledger.within_class,
        "ledger.duality": ledger.duality,
        "ledger.bias": ledger.bias,
        "ledger.geometry": ledger.geometry,
    }


def head_balance(head: Head, decays: tuple[float, ...]) -> float | None:
    """How far neighbouring head layers are from lam_{m+1} W_{m+1}^T W_{m+1} = lam_m W_m W_m^T: the largest relative
    Frobenius distance; None for a single layer, and a pair whose lower layer is zero is left out.

    The equation holds at every stationary point (Dang et al. 2023, stationarity conditions).
    """
    worst: float | None = None
    for m in range(len(head.weights) - 1):
        below = decays[m] * head.weights[m] @ head.weights[m].T
        above = decays[m + 1] * head.weights[m + 1].T @ head.weights[m + 1]
        size = float(below.norm())
        if size > 0:
            worst = max(worst or 0.0, float((above - below).norm()) / size)
    return worst


def _frame(vectors: Tensor) -> tuple[float | None, float | None]:
    """How far K vectors are from equal norms, and from angles all of cosine -1/(K-1); None if one of them is zero."""
    K, norms = len(vectors), vectors.norm(dim=1)
    if not bool((norms > 0).all()):
        return None, None
    cosines = (vectors @ vectors.T) / norms / norms[:, None]
    off_diagonal = cosines[~torch.eye(K, dtype=torch.bool, device=vectors.device)]
    return float(norms.std() / norms.mean()), float((off_diagonal + 1 / (K - 1)).abs().mean())


def _numpy(tensor: Tensor) -> NDArray[np.float64]:
    return np.asarray(tensor.detach().cpu(), dtype=np.float64)


def _list(tensor: Tensor) -> list[float | None]:
    return [float(value) if value == value else None for value in tensor.tolist()]
