"""One pass over the samples, batch by batch, with memory of order K d + d^2."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ncrun.errors import UserError
from ncrun.losses import LOSSES, Options
from ncrun.measurement import Measurement, finished
from ncrun.meter.batches import Seen, check_counts
from ncrun.meter.decisions import Decisions, logits_of
from ncrun.meter.ranks import all_merged
from ncrun.meter.sums import Sums
from ncrun.metrics.collected import missing
from ncrun.metrics.rows import collected_metrics
from ncrun.metrics.scan import Head, Split, Spread
from ncrun.metrics.scatter import BetweenDirections, ClassMeans, between_directions
from ncrun.posed import classifier, pose

if TYPE_CHECKING:
    from ncrun.posed import Layers

SECOND_PASS = "a second pass finds it (ncrun.SecondPass)"
BY_CLASS = f"needs each class' own scatter; {SECOND_PASS}"
SCATTER = f"needs the scatter matrix, and scatter=False; {SECOND_PASS}"
NEAREST = f"needs every sample's nearest class mean; {SECOND_PASS}"
COUNTS = f"its loss depends on the class counts, which are known only after the pass; {SECOND_PASS}"
LOGITS = f"needs the logits of every sample, update(features, labels, logits); {SECOND_PASS}"


class CollapseMeter:
    """Measures neural collapse of features that come batch by batch.

    num_classes: K. loss: the loss of the training, "mse", "ce" or a registered one; label_smoothing, class_weights,
    logit_adjustment: its options, as `ncrun.measure` takes them. scatter=False stores no d x d matrix: memory is of
    order K d, and columns that need the matrix are null. This suits the first of two passes.

    All sums are float64. Near collapse one pass is as exact as two, because it sums about a pivot of each class
    (ncrun.meter.sums). A column that it cannot find is null, and `Measurement.absent` gives the reason.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        loss: str = "mse",
        label_smoothing: float = 0.0,
        class_weights: str | Sequence[float] | None = None,
        logit_adjustment: float = 0.0,
        scatter: bool = True,
    ) -> None:
        if num_classes < 2:
            raise UserError(f"num_classes={num_classes}: collapse needs at least two classes")
        self.loss, self.keeps_scatter = LOSSES[loss], scatter
        self.options = Options(label_smoothing, class_weights, logit_adjustment)
        self.options.check(self.loss, num_classes)
        # The loss; None if it depends on the counts, which are not known before the pass.
        self._of_sample = None if self.options.need_counts else self.options.on(self.loss, [1.0] * num_classes)
        self.seen = Seen(num_classes)
        self.sums: Sums | None = None
        self.decisions = Decisions.none(num_classes)

    def __repr__(self) -> str:
        number = 0 if self.sums is None else int(self.sums.counts.sum())
        return f"<ncrun.CollapseMeter: {self.seen.num_classes} classes, {number:,} samples seen>"

    def update(self, features: Any, labels: Any, logits: Any = None) -> None:
        """features: (B, d) of a batch, in evaluation mode, a tensor on any device or an array. labels: (B,), 0..K-1.
        logits: (B, K), from the same forward pass; they give accuracies and the loss, with the logits' precision.

        Raises UserError for wrong shapes or types, labels out of range, values that are not finite, and features of
        another width or precision than before. Such a batch does not count.
        """
        seen, points, y = self.seen.with_batch(features, labels)
        scores = None if logits is None else logits_of(logits, y, seen.num_classes)
        self.seen = seen
        if self.sums is None:
            self.sums = Sums.empty(seen.num_classes, points.shape[1], self.keeps_scatter, points.device)
        self.sums.add(points, y)
        if scores is not None:
            self.decisions.add(scores, y, self._of_sample)

    def merge(self, other: "CollapseMeter") -> None:
        """Adds the samples of another meter. Raises UserError unless both have the same classes, loss, and width and
        precision of features."""
        self.seen.check_same(other.seen)
        for what, mine, theirs in (
            ("loss", self.loss.key, other.loss.key),
            ("options", self.options.in_use, other.options.in_use),
            ("scatter", self.keeps_scatter, other.keeps_scatter),
        ):
            if mine != theirs:
                raise UserError(f"merge: {what}={mine} here, and {what}={theirs} there")
        self.seen = self.seen.merged(other.seen)
        if other.sums is not None:
            copied = other.sums.copied(self.seen.device)
            self.sums = copied if self.sums is None else self.sums.merged(copied)
        self.decisions = self.decisions.merged(other.decisions)

    def reduced(self, group: Any = None) -> "CollapseMeter":
        """A meter with the samples of all ranks of torch.distributed, the same on each rank; without ranks, only its
        own samples. All ranks must call it. group: a process group, or None for all ranks."""
        return all_merged(self, self._empty, group)

    def means(self) -> ClassMeans:
        """The class means, for a second pass. Raises UserError if a class has no sample."""
        self.seen.check_size()
        assert self.sums is not None
        check_counts(self.sums.counts)
        return self.sums.means()

    def compute(
        self,
        weights: "Layers",
        bias: Any = None,
        *,
        decay_weight: float | Sequence[float] | None = None,
        decay_feature: float | None = None,
        decay_bias: float = 0.0,
        nonnegative_features: bool | None = None,
    ) -> Measurement:
        """The columns of metrics.jsonl, beside the prediction: see `ncrun.measure`, whose arguments these are.

        A column that one pass cannot find is null, and `Measurement.absent` gives the reason. Raises UserError as
        `measure` does, and if no sample was seen.
        """
        means = self.means()
        network = classifier(weights, bias)
        network.check_meter(self.seen.num_classes, means.means.shape[1])
        posed = pose(
            network,
            means.counts,
            self.seen.has_negative,
            self.loss.key,
            self.options,
            decay_weight,
            decay_feature,
            nonnegative_features,
            decay_bias,
        )
        try:
            head = posed.head.to(means.means.device)
            split = self._split(means, head)
            row, absent = collected_metrics(split, head, posed.objective, posed.target, posed.baseline)
        except FloatingPointError as error:
            raise UserError(f"features or classifier: are too large to measure ({error})") from error
        return finished(row, posed, absent)

    def _empty(self) -> "CollapseMeter":
        return CollapseMeter(
            self.seen.num_classes, loss=self.loss.key, scatter=self.keeps_scatter, **asdict(self.options)
        )

    def _split(self, means: ClassMeans, head: Head) -> Split:
        """The result of `scan`, as far as it is known."""
        assert self.sums is not None
        assert self.seen.precision is not None
        scatter = self.sums.scatter()
        directions, spread, at_layer = [], [], means
        for m, weight in enumerate(head.weights):
            found = between_directions(at_layer, self.seen.precision)
            directions.append(found)
            class_trace = missing(BY_CLASS) if m else self.sums.traces()
            spread.append(_spread(found, class_trace, scatter, head.weights[:m]))
            at_layer = at_layer.mapped(weight)
        whole = head.suffixes()[0]
        logit_deviation_sq = missing(SCATTER) if scatter is None else _quadratic(scatter, whole.T)
        data_sum = self.decisions.data_sum
        if self.loss.key == "mse" and scatter is not None:  # the only loss that means and scatter determine
            scores = (means.means @ whole.T + head.bias).T.cpu().numpy()
            data_sum = logit_deviation_sq / 2 + float(means.counts.cpu().numpy() @ self.loss.on_class_means(scores))
        complete = self.decisions.number == int(means.counts.sum())
        known = (complete and self._of_sample is not None) or (self.loss.key == "mse" and scatter is not None)
        return Split(
            means,
            directions,
            spread,
            logit_deviation_sq,
            data_sum if known else missing(LOGITS if self._of_sample is not None else COUNTS),
            self.decisions.correct.to(means.means.device) if complete else missing(LOGITS),
            missing(NEAREST),
            missing(NEAREST),
            self.seen.precision,
        )


def _spread(directions: BetweenDirections, class_trace: Any, scatter: Tensor | None, below: list[Tensor]) -> Spread:
    """At the input of a head layer, the layers `below` between it and the features."""
    if scatter is None:
        trace = missing(SCATTER) if below else float(class_trace.sum())
        return Spread(missing(SCATTER), missing(SCATTER), trace, missing(BY_CLASS), class_trace)
    if below:
        through = below[0]
        for weight in below[1:]:
            through = weight @ through
        trace = _quadratic(scatter, through.T)
    else:
        trace = float(class_trace.sum())
    columns = directions.pulled_back(below)
    within, effective = (_quadratic(scatter, part) for part in (columns, columns[:, : directions.effective]))
    return Spread(within, effective, trace, missing(BY_CLASS), class_trace)


def _quadratic(scatter: Tensor, columns: Tensor) -> float:
    """tr(C^T S C) as a sum of squares, because rounding could make it negative otherwise."""
    return max(float((columns * (scatter @ columns)).sum()), 0.0)
