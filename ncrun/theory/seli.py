"""Simplex-encoded-labels interpolation: where cross-entropy with one bias-free linear layer points as decay vanishes.

Source: Thrampoulidis et al. 2022 (arXiv 2208.05512), for step imbalance. A direction only, and one that is approached
logarithmically slowly: never a target at finite decay.
"""

from dataclasses import dataclass

import numpy as np

from ncrun.problem import Problem
from ncrun.theory.geometry import Array, Reference
from ncrun.theory.spectrum import full_svd

SOURCE = "Thrampoulidis et al. 2022"


@dataclass(frozen=True)
class Seli:
    """Shapes without a scale, all (K, K): W W^T, Gram matrix of the class means, and their product."""

    weight_gram: Array
    feature_gram: Array
    logits: Array


def seli(counts: Array) -> Seli:
    """From the singular value decomposition of the encoded labels (I - 11^T/K) D. counts: (K,)."""
    root = np.sqrt(np.asarray(counts, dtype=float))
    encoded = np.eye(len(root)) - 1 / len(root)
    left, values, right_t = full_svd(encoded * root)
    left, values, per_sample = left[:, :-1], values[:-1], (right_t[:-1] / root).T
    return Seli((left * values) @ left.T, (per_sample * values) @ per_sample.T, encoded)


def seli_reference(problem: Problem) -> tuple[Reference, ...]:
    """SELI where it is the limit: cross-entropy, one linear layer without bias, two class sizes."""
    is_step = len(set(problem.counts)) == 2
    if problem.loss != "ce" or problem.bias or problem.depth > 1 or not is_step:
        return ()
    return (Reference("SELI, the direction as decay vanishes", None, SOURCE, "limit"),)
