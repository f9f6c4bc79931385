"""The single pass over a split's samples, for all layers of a head at once. The metrics are computed from its sums."""

from collections.abc import Callable, Iterator, Sequence
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
    rows_projected,
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
    layer.
    logit_deviation_sq: ||W (H - Hbar)||^2. data_sum: the loss' data term, summed over samples (None if not asked for).
    correct: (K,), samples classified right. disagree, tied: samples, for nc4. precision: of the features.
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
        self.directions, into_layers = [], []
        at_layer = means
        for m, weight in enumerate(head.weights):
            found = between_directions(at_layer, precision)
            self.directions.append(found)
            into_layers.append(found.pulled_back(head.weights[:m]) if m else found.basis)
            at_layer = at_layer.mapped(weight)
        self.weight, self.bias = suffixes[0], head.bias
        self.centred = means.means - means.overall
        self.norms_sq = self.centred.square().sum(dim=1)
        self.of_all = self._of_classes(torch.arange(K, device=self.bias.device)) if K**2 <= TABLE_NUMBERS else None
        # One product of these rows with a deviation gives all its numbers, instead of one product for each.
        self.projection = torch.cat([*into_layers, self.weight.T], dim=1).T.contiguous()
        self.squared = sum(columns.shape[1] for columns in into_layers)
        self.sums_of_squares = self._sums_of_squares([columns.shape[1] for columns in into_layers])
        # The centred means lie in the span of their basis, so its projections give the products with the means, too.
        self.along_means = self.centred @ self.directions[0].basis
        self.hidden = [weight.to(precision).T for weight in head.weights[:-1]]

        self.by_class = torch.zeros(K, 2 * depth + 1, dtype=torch.float64, device=means.means.device)
        within, trace, correct = torch.split(self.by_class, [depth, depth, 1], dim=1)
        self.within, self.trace, self.correct = within, trace, correct[:, 0]
        self.within_effective = self.by_class.new_zeros(depth)
        self.logit_deviation_sq = self.by_class.new_zeros(())
        self.data_sum, self.disagree, self.tied = (torch.zeros_like(self.logit_deviation_sq) for _ in range(3))

    def _sums_of_squares(self, widths: Sequence[int]) -> Tensor:
        """(2 M, sum of widths): for each layer a row whose product with the squared projections is the NC1 term, then
        for each one its part in the effective directions. widths: the number of projections of each layer."""
        depth = len(widths)
        found = self.bias.new_zeros(2 * depth, sum(widths))
        start = 0
        for m, (width, directions) in enumerate(zip(widths, self.directions, strict=True)):
            scales = torch.ones_like(directions.values) if m else 1 / directions.values
            found[m, start : start + directions.rank] = scales
            found[depth + m, start : start + directions.effective] = scales[: directions.effective]
            start += width
        return found

    def _of_classes(self, classes: Tensor) -> tuple[Tensor, Tensor]:
        """(K, C) and (K, C): the logits of these classes' means, and their squared distances to all means."""
        gram = self.centred @ self.centred[classes].T
        gaps = (self.norms_sq[:, None] + self.norms_sq[classes] - 2 * gram).clamp(min=0)
        gaps.scatter_(0, classes[None], 0)
        return self.weight @ self.means.means[classes].T + self.bias[:, None], gaps

    def _of_samples(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The same for the class of each sample, (K, B)."""
        if self.of_all is not None:
            which, (logits, gaps) = labels, self.of_all
        else:
            classes, which = torch.unique(labels, return_inverse=True)  # few if the samples are sorted by class
            logits, gaps = self._of_classes(classes)
        which = which.expand(len(logits), -1)
        return logits.gather(1, which), gaps.gather(1, which)

    def add(self, features: Tensor, labels: Tensor) -> None:
        """(B, d) features with (B,) labels."""
        start = 0
        for read, norms_sq in self._projected(features, labels):
            here = slice(start, start + read.shape[1])
            self._add_up(labels[here], read, norms_sq)
            start = here.stop

    def _projected(self, features: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Of the deviations, some blocks at a time: (C, B), their products with the rows of `projection`, and (M, B),
        their squared norms at the input of each layer. The next ones overwrite both.

        Samples come last: so the product takes two thirds of the time, and sums over the few rows are vectorised."""
        room = min(rows_projected(features.shape[1], len(self.by_class), features.is_cuda), len(labels))
        read = self.projection.new_empty(len(self.projection), room)
        norms = read.new_empty(len(self.hidden) + 1, room)
        filled, left = 0, len(labels)
        for y, deviation in deviations(features, labels, self.means.means):
            here = slice(filled, filled + len(y))
            torch.mm(self.projection, deviation.T, out=read[:, here])
            torch.linalg.vector_norm(deviation, dim=1, out=norms[0, here])
            if self.hidden:  # already centred, so the training precision is enough
                inner = deviation.to(self.precision)
            for m, weight in enumerate(self.hidden, start=1):
                inner = inner @ weight
                norms[m, here] = torch.linalg.vector_norm(inner, dim=1, dtype=torch.float64)
            filled, left = here.stop, left - len(y)
            if filled == room or not left:
                yield read[:, :filled], norms[:, :filled].square_()
                filled = 0

    def _add_up(self, y: Tensor, read: Tensor, norms_sq: Tensor) -> None:
        """Add the samples of one step of `_projected`. y: their classes, (B,)."""
        into_layers, logit_deviation = read[: self.squared], read[self.squared :]
        along_means = self.along_means @ into_layers[: self.along_means.shape[1]]
        within, effective = (self.sums_of_squares @ into_layers.square_()).chunk(2)
        self.within_effective += effective.sum(dim=1)
        self.logit_deviation_sq += logit_deviation.square().sum()
        logits, gaps = self._of_samples(y)
        logits += logit_deviation
        if self.data_term is not None:
            self.data_sum += self.data_term(logits.T, y)
        best, decided = logits.max(dim=0)
        add_by_class(self.by_class, y, torch.cat([within, norms_sq, (decided == y)[None]]).T)
        # ||x - mu_j||^2 from the deviation and the means' differences: no cancellation near collapse
        to_mean = (along_means.gather(0, y[None]) - along_means).mul_(2).add_(gaps).add_(norms_sq[0])
        nearest = to_mean.amin(dim=0)
        eps = torch.finfo(self.precision).eps
        best_logit = logits >= best - eps * torch.maximum(best, -logits.amin(dim=0))
        best_mean = to_mean <= nearest + eps * torch.maximum(to_mean.amax(dim=0), -nearest)
        self.disagree += (~(best_logit & best_mean).any(dim=0)).sum()
        self.tied += ((best_logit.sum(dim=0) > 1) | (best_mean.sum(dim=0) > 1)).sum()

    def sums(self) -> list[Tensor]:
        """All sums of `add`, so that passes over parts of the samples can be added up."""
        return [
            self.by_class,
            self.within_effective,
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
    rows = rows_projected(points.width, len(head.bias), points.device.type == "cuda")
    for features, labels in points.blocks(rows):
        for each in passes:
            each.add(features, labels)
    for each in passes:
        points.add_others(each.sums())
    return [each.split() for each in passes]
