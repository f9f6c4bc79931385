"""Aggregates over seeds with their uncertainty, as Agarwal et al. 2021 (Deep Reinforcement Learning at the Edge of the
Statistical Precipice; their library rliable) have them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]
# With fewer seeds a bootstrap has nothing to draw from.
FEWEST_SEEDS = 3
RESAMPLES = 2000
CONFIDENCE = 0.95
# A fixed seed, so that a figure is the same each time.
SEED = 0


@dataclass(frozen=True)
class Interval:
    """centre: the interquartile mean; low, high: the ends of its interval. Arrays with the shape of the input without
    the axis of seeds."""

    centre: Array
    low: Array
    high: Array


def interquartile_mean(values: Array, axis: int = -1) -> Any:
    """The mean without the lowest and the highest quarter (rounded down, so three values all count)."""
    return stats.trim_mean(values, 0.25, axis=axis)


def of_logarithms(strata: Sequence[Array]) -> Interval:
    """The interquartile mean of the logarithms of positive values, pooled over the strata, with its 95 % interval: a
    percentile bootstrap that resamples the seeds of each stratum. On the scale of the values.

    strata: for each setting an array (seeds, ...), equal except for the number of seeds. nan gives nan.
    """
    logs = [np.log(np.moveaxis(stratum, 0, -1)) for stratum in strata]
    known = np.isfinite(np.concatenate(logs, axis=-1)).all(axis=-1)
    found = stats.bootstrap(
        [np.where(known[..., None], each, 0.0) for each in logs],
        lambda *drawn, axis: interquartile_mean(np.concatenate(drawn, axis=axis), axis),
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        vectorized=True,
        axis=-1,
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    centre = interquartile_mean(np.concatenate(logs, axis=-1))
    return Interval(*(np.where(known, np.exp(each), np.nan) for each in (centre, found.low, found.high)))
