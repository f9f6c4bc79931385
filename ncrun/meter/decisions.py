"""Accuracy and loss from the network's own logits, if a meter gets them."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ncrun.arrays import as_array
from ncrun.errors import UserError
from ncrun.losses import Loss


@dataclass
class Decisions:
    """correct: (K,), correctly classified samples. data_sum: the loss, summed over the samples. number: of samples."""

    correct: Tensor
    data_sum: float
    number: int

    @classmethod
    def none(cls, num_classes: int) -> "Decisions":
        return cls(torch.zeros(num_classes, dtype=torch.float64), 0.0, 0)

    def add(self, logits: Tensor, labels: Tensor, loss: Loss | None) -> None:
        """(B, K) logits in float64 with (B,) labels. loss: None if it is not known yet; then its sum does not
        change."""
        right = labels[logits.argmax(dim=1) == labels]
        self.correct += torch.bincount(right, minlength=len(self.correct)).cpu()
        if loss is not None:
            self.data_sum += float(loss.data_sum(logits, labels))
        self.number += len(labels)

    def merged(self, other: "Decisions") -> "Decisions":
        return Decisions(self.correct + other.correct, self.data_sum + other.data_sum, self.number + other.number)


def logits_of(values: Any, labels: Tensor, num_classes: int) -> Tensor:
    """(B, K) in float64, on the device of the labels. Raises UserError for another shape or numbers that are not
    finite."""
    found = values.detach() if isinstance(values, Tensor) else torch.as_tensor(as_array("logits", values))
    if found.shape != (len(labels), num_classes):
        raise UserError(
            f"logits: expected ({len(labels)},{num_classes}), one for each sample and class, found"
            f" {str(tuple(found.shape)).replace(' ', '')}"
        )
    found = found.to(labels.device).double()
    if not bool(found.isfinite().all()):
        raise UserError("logits: not all are finite")
    return found
