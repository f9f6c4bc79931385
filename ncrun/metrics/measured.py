"""The argument of a metric's function: sums over the samples of a layer, and quantities computed from them once.

K classes, N samples of the split, d the layer's width. Tensors are float64, except the features.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ncrun.metrics.collected import Collected
from ncrun.metrics.distance import shape_distance, target_distances
from ncrun.metrics.last_layer import largest_spread
from ncrun.metrics.ledger import Ledger, squared_loss_ledger
from ncrun.metrics.pairs import Pairs, over_pairs
from ncrun.metrics.scan import Head, Split, Spread
from ncrun.metrics.scatter import BetweenDirections, ClassMeans
from ncrun.metrics.tiles import Product, parts
from ncrun.theory import Prediction

Array = NDArray[np.float64]
Distances = tuple[float | None, float | None, float | None]


# If the classes' logits differ by less, the network is dead: they change the loss by less than 1e-8 of its value.
DEAD = 1e-8


def as_array(tensor: Tensor) -> Array:
    return np.asarray(tensor.detach().cpu(), dtype=np.float64)


def singular_values(means: Tensor) -> Tensor:
    """Singular values, the largest first. Raises FloatingPointError if they cannot be computed."""
    try:
        found: Tensor = torch.linalg.svdvals(means)
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
        raise FloatingPointError(str(error)) from error
    return found


@dataclass(frozen=True, eq=False)
class Layer(Collected):
    """A layer's activations, independent of the layers above. Reading a sum that was not collected raises NotCollected,
    which makes a metric null.

    inputs: (N, d'), the features of the split, which the weights `through`, (d, d'), map to this layer.
    labels: (N,). means: its class means. directions: those of Sigma_B. spread: the sums of the deviations from the
    means.
    precision: that of the activations' computation; it decides what counts as rounding.
    reader: the weights that read the layer directly, (d'', d), if any. below: in a ReLU head, the class means before
    the ReLU. predicted: (K, K), the predicted Gram matrix of the class means.
    """

    inputs: Tensor
    labels: Tensor
    means: ClassMeans
    directions: BetweenDirections
    spread: Spread
    precision: torch.dtype
    through: tuple[Tensor, ...] = ()
    reader: Tensor | None = None
    below: ClassMeans | None = None
    predicted: Array | None = None

    @property
    def num_classes(self) -> int:
        return len(self.means.counts)

    @cached_property
    def num_samples(self) -> float:
        return float(self.means.counts.sum())

    @property
    def within(self) -> float:
        """The sum over samples of dev^T pinv(Sigma_B) dev."""
        return self.spread.within

    @property
    def trace(self) -> Tensor:
        """(K,), each class' sum of squared deviations from its mean."""
        return self.spread.class_trace

    @property
    def alive(self) -> bool:
        """Whether the class means differ by more than rounding."""
        return self.directions.rank > 0

    @property
    def moves_loss(self) -> bool:
        """Whether the class means differ by more than rounding for the layers above; here there are none."""
        return self.alive

    @property
    def eps(self) -> float:
        return torch.finfo(self.precision).eps

    @cached_property
    def features(self) -> Tensor:
        """(N, d) activations, in the precision of their computation."""
        found = self.inputs
        for weight in self.through:
            found = found @ weight.to(found.dtype).T
        return found

    @cached_property
    def centred_means(self) -> Tensor:
        """(K, d), the class means minus their unweighted mean."""
        return self.means.means - self.means.means.mean(dim=0)

    @cached_property
    def mean_directions(self) -> Tensor | None:
        """(K, d), the class means minus their unweighted mean, scaled to norm 1; None if one of them is zero."""
        norms = torch.linalg.vector_norm(self.centred_means, dim=1)
        if not self.alive or not bool((norms > self.num_classes * self.eps * norms.max()).all()):
            return None
        return self.centred_means.div(norms[:, None])

    @cached_property
    def raw_means(self) -> Array:
        """(K, d), the class means, not centred."""
        return as_array(self.means.means)

    @cached_property
    def singular_values(self) -> Tensor:
        """Singular values of the class means, not centred, the largest first."""
        return singular_values(self.means.means)

    @cached_property
    def singular_values_below(self) -> Tensor:
        assert self.below is not None
        return singular_values(self.below.means)

    @cached_property
    def pairs(self) -> Pairs:
        """Statistics over all pairs of classes."""
        return over_pairs(self.means.means, self.trace / self.means.counts)

    @cached_property
    def pairs_of_directions(self) -> Pairs | None:
        """The same for the means' directions; None if one is zero."""
        return None if self.mean_directions is None else over_pairs(self.mean_directions)

    @cached_property
    def feature_gram(self) -> Array:
        """(K, K), the Gram matrix of the class means."""
        return as_array(self.means.means @ self.means.means.T)

    @cached_property
    def to_prediction(self) -> Distances:
        """nc2_w, nc2_h, nc3."""
        if self.predicted is None:
            return None, None, None
        return None, shape_distance(Product(self.raw_means, self.raw_means), self.predicted), None


@dataclass(frozen=True, eq=False, kw_only=True)
class Measured(Layer):
    """A layer of a linear head with the layers above it, or the last layer of a ReLU head.

    weight: (K, d), the product of the head's layers that read it. layer: the first of these, counted from 0. bias:
    (K,).
    head: the whole head. target: the prediction for this run; baseline: the prediction for equal counts.
    scan: the pass over the samples. about_train: the same about the training set's class means (on the training split,
    equal to `scan`). penalty, baseline: on the training split; penalty: the objective without its data term.
    """

    weight: Tensor
    layer: int
    bias: Tensor
    head: Head
    target: Prediction
    scan: Split
    about_train: Split
    baseline: Prediction | None = None
    penalty: float | None = None

    @cached_property
    def data_term(self) -> float | None:
        return None if self.scan.data_sum is None else self.scan.data_sum / self.num_samples

    @cached_property
    def loss(self) -> float | None:
        """The full objective; None on a test split."""
        return None if self.penalty is None or self.data_term is None else self.data_term + self.penalty

    @cached_property
    def largest_spread(self) -> float:
        """An upper bound on the sum of squared deviations at the input of the last layer of a head of two or more
        layers."""
        *_, below, last = self.head.weights
        return largest_spread(last, below, self.scan.logit_deviation_sq, self.scan.spread[-2].trace)

    @cached_property
    def gram_input(self) -> Tensor:
        """(K, d), the class means as they enter Gram matrices: see `Problem.centres_means`."""
        return self.means.gram_input(self.target.problem.centres_means, self.directions.rank)

    @cached_property
    def dual_means(self) -> Array:
        """(K, d), the class means that are compared with the classifier: minus the overall mean with a bias that is not
        decayed."""
        problem = self.target.problem
        return as_array(self.means.gram_input(problem.bias and not problem.bias_decay, self.directions.rank))

    @cached_property
    def weight_array(self) -> Array:
        return as_array(self.weight)

    @cached_property
    def weight_gram(self) -> Array:
        """(K, K): W W^T."""
        return as_array(self.weight @ self.weight.T)

    @cached_property
    def feature_gram(self) -> Array:
        """(K, K): Hbar^T Hbar."""
        return as_array(self.gram_input @ self.gram_input.T)

    @cached_property
    def product(self) -> Array:
        """(K, K): W Hbar, column k the logits of class k's mean, without the bias."""
        return as_array(self.weight @ self.gram_input.T)

    @cached_property
    def margins(self) -> Tensor:
        """(K,): the logit of each class mean (not centred) for its own class minus its largest other logit."""
        means = self.means.means
        found = means.new_empty(len(means))
        for part in parts(len(means), len(means)):
            scores = means[part] @ self.weight.T + self.bias
            classes = torch.arange(part.start, part.stop, device=means.device)[:, None]
            own = scores.gather(1, classes)[:, 0]
            found[part] = own - scores.scatter_(1, classes, -torch.inf).amax(dim=1)
        return found

    @property
    def moves_loss(self) -> bool:
        if not self.alive:
            return False
        means = self.centred_means
        return any(float((means[part] @ self.weight.T).abs().max()) > DEAD for part in parts(len(means), len(means)))

    @cached_property
    def to_prediction(self) -> Distances:
        return target_distances(self.target, self.layer, self.weight_array, as_array(self.gram_input))

    @cached_property
    def to_baseline(self) -> Distances:
        """nc2_w, nc2_h, nc3 against the prediction for equal counts."""
        assert self.baseline is not None
        return target_distances(self.baseline, 0, self.weight_array, as_array(self.gram_input))

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger, for the squared loss on a linear head, whose optimum is proven."""
        assert self.target.objective is not None
        return squared_loss_ledger(
            self.target.problem,
            self.target.objective,
            [as_array(weight) for weight in self.head.weights],
            as_array(self.head.bias),
            as_array(self.scan.means.means),
            self.scan.logit_deviation_sq,
            self.scan.spread[0].trace,
        )
