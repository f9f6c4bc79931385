"""The one pass over a split's samples, for a whole head at once: what the metrics of its layers are made from."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ncrun.metrics.scatter import BetweenDirections, ClassMeans, between_directions, class_means, deviations

DataTerm = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Head:
    """A head in float64. weights: W_1 .. W_M, W_1 reading the features. bias: (K,), zeros if it has none.

    relu: with a ReLU between the layers; such a head is measured layer by layer.
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
