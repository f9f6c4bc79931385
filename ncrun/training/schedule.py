"""The measured epochs and the learning rate over time."""

from collections.abc import Sequence

import numpy as np

LOG_POINTS = 200


def measured_epochs(measure: str | int, epochs: int, full_batch: bool) -> set[int]:
    """The measured epochs. 0 (the initialisation) and the last one are always among them.

    auto: every epoch with mini-batches; about 200 log-spaced ones with full batches, where an epoch is one step.
    """
    if measure == "auto":
        measure = "log" if full_batch else "every"
    if measure == "every":
        return set(range(epochs + 1))
    if measure == "log":
        if epochs <= LOG_POINTS:
            return set(range(epochs + 1))
        points = LOG_POINTS
        # Rounding merges the first points, so a few more than 200 are made.
        while len(chosen := np.unique(np.geomspace(1, epochs, points).round().astype(int))) < LOG_POINTS:
            points += 10
        return {0, epochs, *(int(epoch) for epoch in chosen)}
    return {*range(0, epochs + 1, int(measure)), epochs}


def snapshot_epochs(number: int, measured: set[int]) -> set[int]:
    """About `number` of the measured epochs, log-spaced, including the first and the last; none with number 0."""
    if number == 0:
        return set()
    epochs = np.array(sorted(measured))
    wanted = np.geomspace(1, max(epochs[-1], 1), number - 1)
    nearest = np.abs(np.log(np.maximum(epochs, 0.5)) - np.log(wanted)[:, None]).argmin(axis=1)
    return {0, int(epochs[-1]), *(int(epoch) for epoch in epochs[nearest])}


def learning_rate(base: float, epoch: int, epochs: int, drops: Sequence[float], every: int, gamma: float) -> float:
    """The rate during `epoch` (from 0 on): times gamma at every multiple of `every`, or if that is 0, after each of the
    `drops`."""
    passed = epoch // every if every else sum(epoch >= drop * epochs for drop in drops)
    return float(base * gamma**passed)
