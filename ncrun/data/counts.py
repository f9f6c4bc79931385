"""The number of samples of each class. Torch-free: theory needs the counts before any data is read."""

import math
from collections.abc import Sequence

import numpy as np

PROFILES = ("exp", "step", "linear")


def class_counts(
    class_sizes: Sequence[int], imbalance: float | None, profile: str, rare_order: Sequence[int] | None = None
) -> list[int]:
    """Samples per class, in label order.

    imbalance: n_min / n_max in (0, 1]; None takes every sample. n_max is the smallest available class, so 1 is
    balanced.
    profile: "exp" n_k = n_max r^(k/(K-1)); "linear" between n_max and r n_max; "step": the last floor(K/2) classes
    are small.
    rare_order: the class at each position, from the most to the least frequent; default: label order.
    Counts are rounded down, but never below 1.
    """
    if imbalance is None:
        return list(class_sizes)
    K, n_max = len(class_sizes), min(class_sizes)
    position = np.arange(K) / max(K - 1, 1)
    share = {
        "exp": imbalance**position,
        "linear": 1 - (1 - imbalance) * position,
        "step": np.where(np.arange(K) < K - K // 2, 1.0, imbalance),
    }[profile]
    # The tolerance prevents that a count that is whole in exact arithmetic (5000 * 0.1) is rounded down by 1.
    sizes = [max(1, math.floor(n_max * s * (1 + 1e-12))) for s in share]
    order = range(K) if rare_order is None else rare_order
    counts = [0] * K
    for size, k in zip(sizes, order, strict=True):
        counts[k] = size
    return counts


def seeded_class_order(num_classes: int, seed: int) -> list[int]:
    """A random order of the classes from frequent to rare, so that rarity is not confounded with a class'
    difficulty."""
    return [int(k) for k in np.random.default_rng([seed, 1]).permutation(num_classes)]
