"""The single pass over a split's samples, for all layers of a head at once. The metrics are computed from its sums."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ncrun.metrics.collected import Collected
from ncrun.metrics.scatter import (
    BetweenDirections,
    ClassMeans,
    Held,
    Points,
    add_by_class,
    between_directions,
    deviations,
    means_of,
    rows_of_block,
)

# The K x K numbers about the class means are stored while they are small (K up to 2,048: 64 MB for both); otherwise
# they are computed again for the classes of each block.
TABLE_NUMBERS = 2**22

DataTerm = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Head:
    """A head in float64. weights: W_1 .. W_M, W_1 reading the features. bias: (K,), zeros if it has none.

    relu: whether a ReLU stands between the layers; such a head is measured layer by layer.
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

    def to(self, device: torch.device) -> "Head":
        return Head([weight.to(device) for weight in self.weights], self.bias.to(device), self.relu)


@dataclass(frozen=True)
class Spread(Collected):
    """Deviations from the class means at the input of a layer, summed over the samples. float64.

    within: sum of dev^T pinv(Sigma_B) dev; within_effective: the same in the effective directions alone. trace: sum of
    squares. class_within, class_trace: (K,), the same by class.
    """

    within: float
    within_effective: float
    trace: float
    class_within: Tensor
    class_trace: Tensor


@dataclass(frozen=True)
class Split(Collected):
    """The result of one pass over a split: sums over samples, float64. Reading a sum that was not collected batch by
    batch raises NotCollected.

    means: the split's own class means. directions, spread: of Sigma_B and the deviations at the input of each head
    layer. logit_deviation_sq: ||W (H - Hbar)||^2. data_sum: the loss' data term, summed over samples (None if not asked
    for). correct: (K,), samples classified right. disagree, tied: samples, for nc4. precision: of the features.
    """

    means: ClassMeans
    directions: list[BetweenDirections]
    spread: list[Spread]
    logit_deviation_sq: float
    data_sum: float | None
    correct: Tensor
    disagree: int
    tied: int
    precision: torch.dtype

    @property
    def feature_norm_sq(self) -> float:
        """||H||^2, from the means and the deviations from them."""
        return float(self.means.counts @ self.means.means.square().sum(dim=1)) + self.spread[0].trace


class Pass:
    """The pass, batch by batch, with known class means. Raises FloatingPointError if they are not finite.

    own: the split's class means. about: use these class means (the training set's) for deviations, directions and
    nearest means instead of its own. precision: of the features.
    data_term: (logits, labels) -> the loss' data term summed over the samples.
    """

    def __init__(
        self,
        own: ClassMeans,
        head: Head,
        precision: torch.dtype,
        about: ClassMeans | None = None,
        data_term: DataTerm | None = None,
    ) -> None:
        self.own, self.means = own, about or own
        self.precision, self.data_term = precision, data_term
        means, suffixes = self.means, head.suffixes()
        depth, K = len(suffixes), len(head.bias)
        self.directions, pulled_back = [], []
        at_layer = means
        for m, weight in enumerate(head.weights):
            found = between_directions(at_layer, precision)
            self.directions.append(found)
            pulled_back.append(found.pulled_back(head.weights[:m]))
            at_layer = at_layer.mapped(weight)
        self.weight, self.bias = suffixes[0], head.bias
        self.centred = means.means - means.overall
        self.norms_sq = self.centred.square().sum(dim=1)
        self.of_all = self._of_classes(torch.arange(K, device=self.bias.device)) if K**2 <= TABLE_NUMBERS else None
        # One product of a deviation with these columns gives all its numbers, instead of one product for each.
        columns = [*pulled_back, self.weight.T, self.centred.T]
        self.projection, self.widths = torch.cat(columns, dim=1), [column.shape[1] for column in columns]
        self.hidden = [weight.to(precision).T for weight in head.weights[:-1]]

        self.within = torch.zeros(K, depth, dtype=torch.float64, device=means.means.device)
        self.trace, self.within_effective = torch.zeros_like(self.within), self.within.new_zeros(depth)
        self.correct = self.within.new_zeros(K)
        self.logit_deviation_sq = self.within.new_zeros(())
        self.data_sum, self.disagree, self.tied = (torch.zeros_like(self.logit_deviation_sq) for _ in range(3))

    def _of_classes(self, classes: Tensor) -> tuple[Tensor, Tensor]:
        """(C, K) and (C, K): the logits of these classes' means, and their squared distances to all means."""
        gram = self.centred[classes] @ self.centred.T
        gaps = (self.norms_sq[classes, None] + self.norms_sq - 2 * gram).clamp(min=0)
        gaps.scatter_(1, classes[:, None], 0)
        return self.means.means[classes] @ self.weight.T + self.bias, gaps

    def _of_samples(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The same for the class of each sample, (B, K)."""
        if self.of_all is not None:
            return self.of_all[0][labels], self.of_all[1][labels]
        classes, which = torch.unique(labels, return_inverse=True)  # few if the samples are sorted by class
        logits, gaps = self._of_classes(classes)
        return logits[which], gaps[which]

    def add(self, features: Tensor, labels: Tensor) -> None:
        """(B, d) features with (B,) labels."""
        eps = torch.finfo(self.precision).eps
        for y, deviation in deviations(features, labels, self.means.means):
            *into_directions, logit_deviation, along_means = torch.split(
                deviation @ self.projection, self.widths, dim=1
            )
            for m, projected in enumerate(into_directions):
                squares = projected.square_()
                add_by_class(self.within[:, m], y, squares.sum(dim=1))
                self.within_effective[m] += squares[:, : self.directions[m].effective].sum()
            norm_sq = torch.linalg.vector_norm(deviation, dim=1).square()
            add_by_class(self.trace[:, 0], y, norm_sq)
            inner = deviation.to(self.precision)  # already centred, so the training precision is enough
            for m, weight in enumerate(self.hidden, start=1):
                inner = inner @ weight
                add_by_class(self.trace[:, m], y, torch.linalg.vector_norm(inner, dim=1, dtype=torch.float64).square())
            self.logit_deviation_sq += logit_deviation.square().sum()
            class_logits, gaps = self._of_samples(y)
            logits = class_logits.add_(logit_deviation)
            if self.data_term is not None:
                self.data_sum += self.data_term(logits, y)
            add_by_class(self.correct, y, (logits.argmax(dim=1) == y).double())
            # ||x - mu_j||^2 from the deviation and the means' differences: no cancellation near collapse
            to_mean = norm_sq[:, None] + gaps + 2 * (along_means.gather(1, y[:, None]) - along_means)
            best_logit = logits >= logits.amax(dim=1, keepdim=True) - eps * logits.abs().amax(dim=1, keepdim=True)
            scale = to_mean.abs().amax(dim=1, keepdim=True)
            best_mean = to_mean <= to_mean.amin(dim=1, keepdim=True) + eps * scale
            self.disagree += (~(best_logit & best_mean).any(dim=1)).sum()
            self.tied += ((best_logit.sum(dim=1) > 1) | (best_mean.sum(dim=1) > 1)).sum()

    def sums(self) -> list[Tensor]:
        """All sums of `add`, so that passes over parts of the samples can be added up."""
        return [
            self.within,
            self.within_effective,
            self.trace,
            self.correct,
            self.logit_deviation_sq,
            self.data_sum,
            self.disagree,
            self.tied,
        ]

    def split(self) -> Split:
        """The result."""
        spread = [
            Spread(float(within.sum()), float(effective), float(trace.sum()), within, trace)
            for within, effective, trace in zip(self.within.T, self.within_effective, self.trace.T, strict=True)
        ]
        return Split(
            self.own,
            self.directions,
            spread,
            float(self.logit_deviation_sq),
            float(self.data_sum) if self.data_term is not None else None,
            self.correct,
            int(self.disagree),
            int(self.tied),
            self.precision,
        )


def scan(
    features: Tensor,
    labels: Tensor,
    head: Head,
    about: ClassMeans | None = None,
    data_term: DataTerm | None = None,
) -> Split:
    """One pass over (N, d) features with (N,) labels, for everything that needs the samples. about, data_term: see
    Pass. Raises ValueError if a class has no sample."""
    return scan_about(Held(features, labels), head, (about,), data_term)[0]


def scan_about(
    points: Points, head: Head, about: Sequence[ClassMeans | None], data_term: DataTerm | None = None
) -> list[Split]:
    """The same about several class means at once, for points that need not be in memory; they are read twice."""
    own = means_of(points, len(head.bias))
    passes = [Pass(own, head, points.precision, means, data_term) for means in about]
    rows = rows_of_block(points.width, len(head.bias), points.device.type == "cuda")
    for features, labels in points.blocks(rows):
        for each in passes:
            each.add(features, labels)
    for each in passes:
        points.add_others(each.sums())
    return [each.split() for each in passes]
