"""The meter as a metric of torchmetrics: one pass; torchmetrics synchronises it across ranks."""

from collections.abc import Sequence
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn

try:
    from torchmetrics import Metric
except ImportError as error:
    raise ImportError("ncrun.torchmetrics needs torchmetrics: pip install 'ncrun[integrations]'") from error

from ncrun.measurement import Measurement
from ncrun.meter.batches import Seen
from ncrun.meter.decisions import Decisions
from ncrun.meter.one_pass import CollapseMeter
from ncrun.meter.sums import Sums
from ncrun.posed import classifier

SUMS = ("counts", "pivots", "first", "squares", "second")


class CollapseMetric(Metric):
    """metric.update(features, labels, logits); metric.compute() -> the numbers that one pass finds, by column.

    head: the classifier, an nn.Linear or an nn.Sequential of them, read when `compute` is called. loss and the further
    arguments as `ncrun.CollapseMeter` and its `compute` take them. Columns that are null or lists are skipped;
    `measurement()` has them.
    """

    full_state_update = True
    is_differentiable = False
    higher_is_better = None

    def __init__(
        self,
        head: nn.Module,
        *,
        loss: str = "mse",
        label_smoothing: float = 0.0,
        class_weights: str | Sequence[float] | None = None,
        logit_adjustment: float = 0.0,
        scatter: bool = True,
        **stated: Any,
    ) -> None:
        super().__init__()
        weights = classifier(head, None).head.weights
        K, d = len(weights[-1]), weights[0].shape[1]
        # In a list, so that its parameters do not become the metric's own.
        self._head, self.loss, self.scatter, self.stated = [head], loss, scatter, stated
        self._blank = CollapseMeter(
            K,
            loss=loss,
            label_smoothing=label_smoothing,
            class_weights=class_weights,
            logit_adjustment=logit_adjustment,
            scatter=scatter,
        )
        empty = Sums.empty(K, d, scatter, None)
        for name in SUMS:
            part = getattr(empty, name)
            # Pivots differ between ranks, so sums cannot be added: torchmetrics stacks them, and `_meter` merges them.
            self.add_state(name, torch.zeros(0) if part is None else part, dist_reduce_fx=None)
        none = Decisions.none(K)
        self.add_state("correct", none.correct, dist_reduce_fx="sum")
        self.add_state("data_sum", torch.tensor(none.data_sum, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("number", torch.tensor(none.number), dist_reduce_fx="sum")
        self.add_state("largest", torch.zeros((), dtype=torch.float64), dist_reduce_fx="max")
        self.add_state("negative", torch.tensor(0), dist_reduce_fx="max")
        self.add_state("bits", torch.tensor(0), dist_reduce_fx="max")

    def update(self, features: Tensor, labels: Tensor, logits: Tensor | None = None) -> None:
        """A batch, as CollapseMeter.update takes it. Raises UserError as that does."""
        meter = self._meter()
        meter.update(features, labels, logits)
        assert meter.sums is not None
        for name in SUMS:
            part = getattr(meter.sums, name)
            if part is not None:
                setattr(self, name, part.to(self.device))
        self.correct = meter.decisions.correct.to(self.device)
        self.data_sum = torch.tensor(meter.decisions.data_sum, dtype=torch.float64, device=self.device)
        self.number = torch.tensor(meter.decisions.number, device=self.device)
        self.largest = torch.tensor(meter.seen.largest, dtype=torch.float64, device=self.device)
        self.negative = torch.tensor(int(meter.seen.has_negative), device=self.device)
        self.bits = torch.tensor(64 if meter.seen.precision is torch.float64 else 32, device=self.device)

    def compute(self) -> dict[str, Tensor]:
        """Raises UserError as CollapseMeter.compute does."""
        values = self.measurement().metrics.items()
        return {
            key: torch.tensor(value, dtype=torch.float64) for key, value in values if isinstance(value, float | int)
        }

    def measurement(self) -> Measurement:
        """All columns, the reasons for null ones, and the prediction; for this rank's samples, or within `sync_context`
        for all ranks'."""
        return self._meter().compute(self._head[0], **self.stated)

    def _meter(self) -> CollapseMeter:
        """The meter with this state; after torchmetrics has gathered the ranks' states, all of them merged."""
        ranks = len(self.counts) if self.counts.ndim > 1 else 1
        meter = copy(self._blank)
        for rank in range(ranks):
            stacked = {name: getattr(self, name) for name in SUMS}
            parts = {name: part[rank] if self.counts.ndim > 1 else part for name, part in stacked.items()}
            own = Sums(**parts if self.scatter else {**parts, "second": None}).copied(self.device)
            meter.sums = own if meter.sums is None else meter.sums.merged(own)
        meter.decisions = Decisions(self.correct.cpu(), float(self.data_sum), int(self.number))
        bits = int(self.bits)
        if bits:
            precision = torch.float64 if bits == 64 else torch.float32
            size, width = float(self.largest), self.pivots.shape[-1]
            meter.seen = Seen(self.counts.shape[-1], width, precision, self.device, size, bool(self.negative))
        return meter
