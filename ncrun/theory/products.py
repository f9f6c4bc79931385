"""Products of many decays, which may leave the range of floats although the results do not.

Mantissas and exponents are multiplied separately, so a result in the range of floats has one rounding for each factor;
any other is infinite or zero.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from ncrun.problem import Problem
from ncrun.theory.prediction import Array

LARGEST_SHIFT = 4000  # beyond it everything is infinite or zero anyway, and a C integer has room for it


def running_products(factors: Iterable[Array]) -> list[Array]:
    """f_1, f_1 f_2, and so on, elementwise. factors: arrays of one shape."""
    return [
        np.asarray(np.ldexp(mantissa, np.clip(exponent, -LARGEST_SHIFT, LARGEST_SHIFT).astype(np.int32)))
        for mantissa, exponent in _running(factors)
    ]


def geometric_mean(*factors: float) -> float:
    """(f_1 .. f_n)^(1/n), never larger than the largest factor nor smaller than the smallest."""
    *_, (mantissa, exponent) = _running(np.asarray(factor) for factor in factors)
    whole, rest = divmod(int(exponent), len(factors))
    return float(np.ldexp(float(mantissa) ** (1 / len(factors)) * 2.0 ** (rest / len(factors)), whole))


def mean_decay(problem: Problem) -> float:
    """Lambda^(1/(M+1)), the geometric mean of all decays with decay.mode=features."""
    assert problem.feature_decay is not None
    return geometric_mean(problem.feature_decay, *problem.weight_decays)


def _running(factors: Iterable[Array]) -> Iterator[tuple[Array, Array]]:
    """Mantissa in [1/2, 1) and whole exponent of each running product; the former 0 once a factor is."""
    mantissa, exponent = np.ones(()), np.zeros((), dtype=np.int64)
    for factor in factors:
        part, shift = np.frexp(factor)
        mantissa, more = np.frexp(mantissa * part)
        exponent = exponent + shift + more
        yield np.asarray(mantissa), np.asarray(exponent)
