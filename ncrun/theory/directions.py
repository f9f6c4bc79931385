"""The prediction along the principal directions of targets, instead of Gram matrices by class."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Directions:
    """The optimum of the squared loss on targets Y (q x N), minus their mean in a setting with a bias.

    axes: (q, r), orthonormal: the left singular vectors of Y. values: (r,), its singular values, the largest first:
    sqrt(N) times a standard deviation. Directions with singular value zero are omitted.
    kept: (r,), in [0, 1]: the share of each in the outputs W H. 0: the direction is lost at the optimum. weight_powers:
    for m = 1..M, (r,), the squared singular values of W_M..W_m, whose left singular vectors are `axes`. feature_powers:
    for m = 1..M, (r,), those of the input of W_m over all samples, (width, N), whose right singular vectors are those
    of Y.
    decay_to_collapse: (r,), the factor on all decays above which the direction is lost at the optimum. decay_to_vanish:
    (r,), up to which a local minimum keeps it; None if there is none beyond.
    """

    axes: Array
    values: Array
    kept: Array
    weight_powers: tuple[Array, ...]
    feature_powers: tuple[Array, ...]
    decay_to_collapse: Array
    decay_to_vanish: Array | None

    def weight_gram(self, layer: int) -> Array:
        """(q, q): (W_M..W_m)(W_M..W_m)^T. layer: m - 1."""
        return np.asarray((self.axes * self.weight_powers[layer]) @ self.axes.T)

    def feature_root(self, layer: int) -> Array:
        """(r, q): B such that the input of W_m, a column for each sample, is B (Y - mean) up to a rotation: its (N, N)
        Gram matrix is that of B (Y - mean). layer: m - 1."""
        return np.asarray((np.sqrt(self.feature_powers[layer]) / self.values)[:, None] * self.axes.T)

    def output_map(self) -> Array:
        """(q, q): the outputs are this times y - mean, plus the mean in a setting with a bias."""
        return np.asarray((self.axes * self.kept) @ self.axes.T)

    def squared_error(self) -> float:
        """The data term of the outputs, summed over all samples."""
        return float((((1 - self.kept) * self.values) ** 2).sum())
