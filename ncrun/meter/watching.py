"""Measures collapse while a user's own loop trains."""

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, Any

from torch import Tensor, distributed, nn

from ncrun.errors import UserError
from ncrun.measurement import Measurement
from ncrun.meter.forward import Forward, features_of, forward_batch, layer_of, undisturbed
from ncrun.meter.one_pass import CollapseMeter
from ncrun.meter.ranks import buffers_of_rank_zero
from ncrun.meter.second_pass import SecondPass
from ncrun.metrics.scatter import ClassMeans
from ncrun.modules import opened
from ncrun.posed import classifier

if TYPE_CHECKING:
    from pandas import DataFrame


class watch:
    """with ncrun.watch(model, "fc", loader, every=5, loss="ce") as seen: ... seen.step() after every epoch.

    model: any module. layer: its last linear layer (its name or the module), or an nn.Sequential of linear layers; the
    features are its input. loader: the training samples, without random augmentation and each once; read twice (once
    with passes=1) in evaluation mode. test_loader: a test split.
    every: epochs between measurements. The first one is at once, the last when the context ends. passes=1: half the
    time, without the columns that need a second pass (`Measurement.absent`). loss and its options, decay_weight,
    decay_feature, decay_bias, nonnegative_features: those of the training, as `ncrun.measure` takes them.
    forward: (model, batch) -> labels; runs the model; for batches that are not (inputs, labels).
    all_ranks: the loader has only this rank's samples, and every rank watches.

    rows: a dict for each measurement, `epoch` and the columns of metrics.jsonl. last: the newest Measurement.

    Training is not changed: modes and random states are restored, and gradients are not touched. Raises UserError, at
    the first measurement, for what cannot be measured.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module,
        loader: Iterable[Any],
        *,
        every: int = 1,
        loss: str = "mse",
        label_smoothing: float = 0.0,
        class_weights: str | Sequence[float] | None = None,
        logit_adjustment: float = 0.0,
        decay_weight: float | Sequence[float] | None = None,
        decay_feature: float | None = None,
        decay_bias: float = 0.0,
        nonnegative_features: bool | None = None,
        test_loader: Iterable[Any] | None = None,
        passes: int = 2,
        forward: Forward = forward_batch,
        all_ranks: bool = False,
    ) -> None:
        if every < 1:
            raise UserError(f"every={every}: expected a number of epochs of at least 1")
        if passes not in (1, 2):
            raise UserError(f"passes={passes}: not one of 1, 2")
        if passes == 1 and test_loader is not None:
            raise UserError("passes=1: a test split needs the class means of a first pass; set passes=2")
        if all_ranks and not (distributed.is_available() and distributed.is_initialized()):
            raise UserError("all_ranks=True: torch.distributed is not initialised, so there is only one rank")
        self.model, self.layer = model, layer_of(model, layer)
        opened(self.layer)  # raises UserError if it is not a head
        self.loader, self.test_loader = loader, test_loader
        self.every, self.passes = every, passes
        self.loss: dict[str, Any] = {
            "loss": loss,
            "label_smoothing": label_smoothing,
            "class_weights": class_weights,
            "logit_adjustment": logit_adjustment,
        }
        self.stated: dict[str, Any] = {
            "decay_weight": decay_weight,
            "decay_feature": decay_feature,
            "decay_bias": decay_bias,
            "nonnegative_features": nonnegative_features,
        }
        self.forward, self.all_ranks = forward, all_ranks
        self.epoch = 0
        self.rows: list[dict[str, Any]] = []
        self.last: Measurement | None = None

    def __enter__(self) -> "watch":
        self.measure()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if kind is None:
            self.finish()

    def step(self) -> Measurement | None:
        """Call after an epoch; measures if it is due."""
        self.epoch += 1
        return self.measure() if self.epoch % self.every == 0 else None

    def finish(self) -> Measurement | None:
        """Call after training; measures unless the last epoch was measured."""
        done = bool(self.rows) and self.rows[-1]["epoch"] == self.epoch
        return None if done else self.measure()

    def measure(self) -> Measurement:
        """Measures now. Raises UserError."""
        one_network = buffers_of_rank_zero(self.model) if self.all_ranks else nullcontext()
        with undisturbed(self.model, [self.loader, self.test_loader]), one_network:
            found = self._one_pass() if self.passes == 1 else self._two_passes()
        self.rows.append({"epoch": self.epoch, **found.metrics})
        self.last = found
        return found

    def frame(self) -> "DataFrame":
        """The rows as a data frame."""
        from pandas import DataFrame

        return DataFrame(self.rows)

    def _one_pass(self) -> Measurement:
        meter = self._meter(scatter=True)
        for features, labels, logits in self._batches(self.loader):
            meter.update(features, labels, logits)
        whole = meter.reduced() if self.all_ranks else meter
        return whole.compute(self.layer, **self.stated)

    def _two_passes(self) -> Measurement:
        means = self._means(self.loader)
        second = self._second(self.loader, means)
        test = None
        if self.test_loader is not None:
            test = self._second(self.test_loader, self._means(self.test_loader), train_means=means)
        return second.compute(**self.stated, test=test)

    def _means(self, loader: Iterable[Any]) -> ClassMeans:
        meter = self._meter(scatter=False)
        for features, labels, _ in self._batches(loader):
            meter.update(features, labels)
        return (meter.reduced() if self.all_ranks else meter).means()

    def _second(self, loader: Iterable[Any], means: ClassMeans, train_means: ClassMeans | None = None) -> SecondPass:
        second = SecondPass(means, self.layer, **self.loss, train_means=train_means)
        for features, labels, _ in self._batches(loader):
            second.update(features, labels)
        return second.reduced() if self.all_ranks else second

    def _meter(self, scatter: bool) -> CollapseMeter:
        return CollapseMeter(classifier(self.layer, None).num_outputs, **self.loss, scatter=scatter)

    def _batches(self, loader: Iterable[Any]) -> Iterable[tuple[Tensor, Any, Tensor]]:
        return features_of(self.model, self.layer, loader, self.forward)
