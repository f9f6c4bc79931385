"""The moments of targets that are vectors of numbers, for theory: regression, several labels at once, soft labels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Above it, squares and their sums would overflow.
LARGEST_TARGET = 1e100
# The covariance matrix has this many rows, and a record holds it.
MOST_OUTPUTS = 500


@dataclass(frozen=True)
class Targets:
    """N targets y_i of q numbers each. The optimum of the squared loss depends only on their first two moments.

    mean: (q,). covariance: (q, q), the mean of (y - mean)(y - mean)^T, divided by N.
    """

    num_samples: int
    mean: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, values: NDArray[Any]) -> "Targets":
        """values: (N, q), finite numbers. Two passes, because the mean may be large compared with the deviations."""
        numbers = np.asarray(values, dtype=np.float64)
        mean = numbers.mean(axis=0)
        centred = numbers - mean
        covariance = centred.T @ centred / len(numbers)
        return cls(len(numbers), tuple(mean.tolist()), tuple(map(tuple, covariance.tolist())))

    @property
    def num_outputs(self) -> int:
        """q."""
        return len(self.mean)

    @property
    def words(self) -> str:
        """Such as "targets of 3 numbers"."""
        return f"targets of {self.num_outputs} number{'s' * (self.num_outputs > 1)}"

    def moment(self, centred: bool) -> Array:
        """(q, q): the covariance, or the mean of y y^T."""
        mean = np.array(self.mean)
        return np.array(self.covariance) + (0.0 if centred else np.outer(mean, mean))

    def as_json(self) -> dict[str, Any]:
        """Plain numbers and lists."""
        return {
            "num_samples": self.num_samples,
            "mean": list(self.mean),
            "covariance": [list(row) for row in self.covariance],
        }

    @classmethod
    def from_json(cls, content: Any) -> "Targets":
        """Raises ValueError for anything that `as_json` does not write."""
        if not isinstance(content, dict) or content.keys() != {"num_samples", "mean", "covariance"}:
            raise ValueError("expected num_samples, mean and covariance")
        number, mean, covariance = content["num_samples"], content["mean"], content["covariance"]
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise ValueError("num_samples must be a whole number from 1 on")
        if not (_is_row(mean) and 1 <= len(mean) <= MOST_OUTPUTS):
            raise ValueError(f"mean must be a list of 1 to {MOST_OUTPUTS} numbers")
        if not (isinstance(covariance, list) and len(covariance) == len(mean) and all(map(_is_row, covariance))):
            raise ValueError("covariance must have a row for each entry of mean")
        if {len(row) for row in covariance} != {len(mean)}:
            raise ValueError("covariance must be square")
        matrix = np.array(covariance, dtype=float)
        size = np.abs(matrix).max()
        if not (np.allclose(matrix, matrix.T, rtol=0, atol=1e-12 * size) and _is_positive(matrix, float(size))):
            raise ValueError("covariance must be symmetric, with no negative variance in any direction")
        return cls(number, tuple(map(float, mean)), tuple(tuple(map(float, row)) for row in covariance))


def _is_row(values: Any) -> bool:
    return isinstance(values, list) and all(
        isinstance(each, int | float) and not isinstance(each, bool) and abs(each) <= LARGEST_TARGET**2
        for each in values
    )


def _is_positive(matrix: Array, size: float) -> bool:
    return size == 0 or bool(np.linalg.eigvalsh(matrix / size).min() >= -1e-9)
