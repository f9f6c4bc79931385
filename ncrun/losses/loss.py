"""The interface of a loss, for training, measuring and predicting."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ncrun.problem import Problem

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float64]


class Loss(ABC):
    """The data term of an objective: a sum over samples of a function of their logits.

    key: the name that users give. words: its name in captions and tables, such as "squared loss". takes_options:
    whether `with_options` uses label_smoothing, class_weights and logit_adjustment, which users may then set.
    takes_targets: whether `data_sum` also takes (B, q) targets instead of labels.
    """

    key: str
    words: str
    takes_options: bool = False
    takes_targets: bool = False

    def with_options(self, problem: Problem) -> "Loss":
        """This loss with the problem's options; a loss without options returns itself."""
        return self

    @abstractmethod
    def data_sum(self, logits: "Tensor", labels: "Tensor") -> "Tensor":
        """The data term of (B, K) logits for (B,) labels, summed over the samples: a scalar. Differentiable."""

    @abstractmethod
    def on_class_means(self, scores: Array) -> Array:
        """(K,): the data term of one sample of each class. scores: (K, K), column k the logits of class k."""

    def on_some_means(self, scores: Array, classes: NDArray[np.int64]) -> Array:
        """(B,): the same for some of the classes. scores: (K, B). classes: (B,). By default computed for all classes,
        with zeros for the other logits."""
        whole = np.zeros((len(scores), len(scores)))
        whole[:, classes] = scores
        return self.on_class_means(whole)[classes]

    def gradient(self, logits: "Tensor", targets: "Tensor", N: int) -> "tuple[Tensor, Tensor] | None":
        """The explicit gradient of data_sum / N for R sets of free features at once, and the argument for `value`.

        logits: (R, K, N), may be overwritten. targets: (R, K, N), one-hot labels, or a regression's targets. None if
        there is no explicit gradient: then autograd computes it from data_sum.
        """
        return None

    def value(self, fit: "Tensor", targets: "Tensor", N: int) -> "Tensor":
        """(R,): data_sum / N at the last call of `gradient`. fit: its second result; without it, the logits."""
        values = fit.new_empty(len(fit))
        for r, labels in enumerate(targets.argmax(dim=1)):
            values[r] = self.data_sum(fit[r].mT, labels) / N
        return values
