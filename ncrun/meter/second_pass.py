"""The second pass over the samples, batch by batch, for everything that needs deviations from the known class means."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from ncrun.errors import UserError
from ncrun.losses import LOSSES, Options
from ncrun.measurement import Measurement, finished
from ncrun.meter.batches import Seen
from ncrun.meter.ranks import all_merged
from ncrun.metrics.rows import collected_metrics, collected_transfer
from ncrun.metrics.scan import Pass
from ncrun.metrics.scatter import ClassMeans
from ncrun.posed import classifier, pose

if TYPE_CHECKING:
    from ncrun.posed import Layers

# Between two passes of the same samples through the same network, means change only by rounding with other batch sizes.
# Float32 sums of hundreds of terms differ by about 1e-6 of the features; other samples or augmentations change the
# means by far more.
SAME_SPREAD, SAME_SIZE = 1e-3, 1e-5


class SecondPass:
    """Finds every column of `ncrun.measure`, from a second pass over the same samples. Memory of order K d.

    means: `CollapseMeter.means()` of the first pass over the same samples. weights, bias: the classifier, as
    `ncrun.measure` takes it. loss and its options: those of the training, as `ncrun.measure` takes them. train_means:
    for a test split, the means of the training samples; give the finished pass to the training split's
    `compute(test=...)`.

    Raises UserError for a classifier that does not fit the means.
    """

    def __init__(
        self,
        means: ClassMeans,
        weights: "Layers",
        bias: Any = None,
        *,
        loss: str = "mse",
        label_smoothing: float = 0.0,
        class_weights: str | Sequence[float] | None = None,
        logit_adjustment: float = 0.0,
        train_means: ClassMeans | None = None,
    ) -> None:
        K, d = means.means.shape
        self.means, self.train_means = means, train_means
        self.network = classifier(weights, bias)
        self.network.check_meter(K, d)
        self.loss, self.options = LOSSES[loss], Options(label_smoothing, class_weights, logit_adjustment)
        self._of_sample = self.options.on(self.loss, (train_means or means).counts.tolist())
        self.seen = Seen(K)
        self.passes: list[Pass] = []  # about its own means; a test split also about those of the training samples
        self.counts = torch.zeros_like(means.counts)
        self.sums = torch.zeros_like(means.means)

    def update(self, features: Any, labels: Any) -> None:
        """The batches of the first pass once more, in any order; see CollapseMeter.update."""
        seen, points, y = self.seen.with_batch(features, labels)
        if points.shape[1] != self.means.means.shape[1]:
            raise UserError(
                f"features: have dimension {points.shape[1]}, but in the first pass {self.means.means.shape[1]}"
            )
        self._start(seen)
        self.counts += torch.bincount(y, minlength=len(self.counts))
        self.sums.index_add_(0, y, points.double())
        for each in self.passes:
            each.add(points, y)

    def merge(self, other: "SecondPass") -> None:
        """Adds the samples of another second pass about the same means. Raises UserError for other means or another
        classifier."""
        self.seen.check_same(other.seen)
        pairs = [(self.means, other.means), (self.train_means, other.train_means)]
        if any((a is None) != (b is None) for a, b in pairs) or not all(
            torch.equal(a.means.cpu(), b.means.cpu()) for a, b in pairs if a is not None and b is not None
        ):
            raise UserError("merge: the two have different class means; second passes must share one first pass")
        mine, theirs = self.network.head, other.network.head
        parts = zip([*mine.weights, mine.bias], [*theirs.weights, theirs.bias], strict=False)
        if len(mine.weights) != len(theirs.weights) or not all(torch.equal(a, b) for a, b in parts):
            raise UserError("merge: the two have different classifiers")
        for what, here, there in (
            ("loss", self.loss.key, other.loss.key),
            ("options", self.options.in_use, other.options.in_use),
        ):
            if here != there:
                raise UserError(f"merge: {what}={here} here, and {what}={there} there")
        if not other.passes:
            return
        self._start(self.seen.merged(other.seen))
        self.counts += other.counts.to(self.counts.device)
        self.sums += other.sums.to(self.sums.device)
        for own, others in zip(self.passes, other.passes, strict=True):
            for total, part in zip(own.sums(), others.sums(), strict=True):
                total += part.to(total.device)

    def reduced(self, group: Any = None) -> "SecondPass":
        """The pass over all ranks' samples, as CollapseMeter.reduced. Every rank must use the means of all,
        `reduced().means()`."""
        return all_merged(self, self._empty, group)

    def compute(
        self,
        *,
        decay_weight: float | Sequence[float] | None = None,
        decay_feature: float | None = None,
        decay_bias: float = 0.0,
        nonnegative_features: bool | None = None,
        test: "SecondPass | None" = None,
    ) -> Measurement:
        """The result of `ncrun.measure` on the whole features, with its arguments. test: the pass over a test split.

        Raises UserError as `ncrun.measure` does, and if the samples were not those of the first pass.
        """
        self._check_whole()
        posed = pose(
            self.network,
            self.means.counts,
            self.seen.has_negative,
            self.loss.key,
            self.options,
            decay_weight,
            decay_feature,
            nonnegative_features,
            decay_bias,
        )
        try:
            head = posed.head.to(self.passes[0].means.means.device)
            row, absent = collected_metrics(self.passes[0].split(), head, posed.objective, posed.target, posed.baseline)
            if test is not None:
                test._check_whole()
                if len(test.passes) < 2:
                    raise UserError("test: needs train_means=, the class means of the training samples")
                own, about_train = (each.split() for each in test.passes)
                values, why = collected_transfer(own, about_train, head, posed.target)
                row, absent = row | values, absent | why
        except FloatingPointError as error:
            raise UserError(f"features or classifier: are too large to measure ({error})") from error
        return finished(row, posed, absent)

    def _empty(self) -> "SecondPass":
        head = self.network.head
        bias = head.bias if self.network.has_bias else None
        return SecondPass(
            self.means, head.weights, bias, loss=self.loss.key, train_means=self.train_means, **asdict(self.options)
        )

    def _start(self, seen: Seen) -> None:
        """The device and the precision are known at the first batch."""
        self.seen = seen
        if self.passes or seen.device is None:
            return
        assert seen.precision is not None
        self.counts, self.sums = self.counts.to(seen.device), self.sums.to(seen.device)
        means, head = _on(self.means, seen.device), self.network.head.to(seen.device)
        try:
            self.passes = [Pass(means, head, seen.precision, data_term=self._of_sample.data_sum)]
            if self.train_means is not None:
                about = _on(self.train_means, seen.device)
                self.passes.append(Pass(means, head, seen.precision, about, self._of_sample.data_sum))
        except FloatingPointError as error:
            raise UserError(f"means or classifier: are too large to measure ({error})") from error

    def _check_whole(self) -> None:
        """Raises UserError unless the samples were those of the first pass."""
        self.seen.check_size()
        found, expected = self.counts.cpu(), self.means.counts.cpu()
        if not torch.equal(found, expected):
            k = int((found != expected).nonzero()[0])
            raise UserError(
                f"second pass: saw {found[k]:.0f} samples of class {k}, but the first pass {expected[k]:.0f}; both"
                " need all samples once (a loader with drop_last=True drops some)"
            )
        first = self.means.means.cpu()
        moved = (self.sums.cpu() / expected[:, None] - first).norm(dim=1)
        rms = (self.passes[0].trace[:, 0].cpu() / expected).sqrt()
        wrong = (moved > SAME_SPREAD * rms + SAME_SIZE * first.norm(dim=1)).nonzero().flatten().tolist()
        if wrong:
            raise UserError(
                f"second pass: the mean of class {wrong[0]} is {moved[wrong[0]]:.2g} away from that of the first pass;"
                " both need the same features (no random augmentation, evaluation mode, a fixed network)"
            )


def _on(means: ClassMeans, device: torch.device) -> ClassMeans:
    return ClassMeans(means.counts.to(device), means.means.to(device), means.overall.to(device))
