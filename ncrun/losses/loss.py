"""What a loss must say of itself to be trained with, measured and predicted."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ncrun.problem import Problem

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float64]


class Loss(ABC):
    """The data term of an objective, a sum over samples of what the logits cost there.

    key: the name that users type. words: what captions and tables call it, such as "squared loss". takes_options:
    whether `with_options` heeds label_smoothing, class_weights and logit_adjustment, which users may then set.
    takes_targets: whether `data_sum` also takes (B, q) targets of floats in place of labels.
    """

    key: str
    words: str
    takes_options: bool = False
    takes_targets: bool = False

    def with_options(self, problem: Problem) -> "Loss":
        """This loss with the options that a problem sets; a loss without options is what it is."""
        return self

    @abstractmethod
    def data_sum(self, logits: "Tensor", labels: "Tensor") -> "Tensor":
        """The data term of (B, K) logits for (B,) labels, summed over the samples: a scalar. Differentiable."""

    @abstractmethod
    def on_class_means(self, scores: Array) -> Array:
        """(K,): the data term of one sample of each class. scores: (K, K), column k the logits of class k."""

    def on_some_means(self, scores: Array, classes: NDArray[np.int64]) -> Array:
        """(B,): the same of some of the classes. scores: (K, B). classes: (B,). A loss that does not say how is asked
        for all, with zeros in place of the others' logits."""
        whole = np.zeros((len(scores), len(scores)))
        whole[:, classes] = scores
        return self.on_class_means(whole)[classes]

    def gradient(self, logits: "Tensor", targets: "Tensor", N: int) -> "tuple[Tensor, Tensor] | None":
        """The gradient of data_sum / N, written out for R sets of free features at once, and what `value` needs.

        logits: (R, K, N), may be overwritten. targets: (R, K, N), the one-hot labels, or targets of
        numbers. None if it is not written out: then autograd finds it from data_sum.
        """
        return None

    def value(self, fit: "Tensor", targets: "Tensor", N: int) -> "Tensor":
        """(R,): data_sum / N where `gradient` was called. fit: what that returned second; without it, the logits."""
        values = fit.new_empty(len(fit))
        for r, labels in enumerate(targets.argmax(dim=1)):
            values[r] = self.data_sum(fit[r].mT, labels) / N
        return values
