"""Explicit heads of ReLU layers whose value is lower than that of deep neural collapse.

Found by scripts/search_relu_heads.py; only the factors are stored, everything else is computed from them. The problem
is that of Súkeník, Mondelli and Lampert 2023 (arXiv 2305.13165): K balanced classes of n samples, N = K n, no bias,
1/(2N) || W_L relu(W_{L-1} .. relu(W_1 H)) - Y ||^2 + sum_l lam_l/2 ||W_l||^2 + lam_H/2 ||H||^2.
It is positively homogeneous in every factor. With O = W_L relu(.. relu(W_1 H)) on the K class means and P = ||H||^2
prod_l ||W_l||^2, factors rescaled to be balanced and to the output a O, a >= 0, therefore have the value
    || a O - I ||^2 / (2K) + (L+1)/2 * (Lam P)^(1/(L+1)) a^(2/(L+1)),    Lam = n lam_H prod_l lam_l,
whose minimum over a is an upper bound on the optimum for every n and all decays.
"""

import json
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The range of the search: classes, layers, and Lam / Lam_glob, Lam_glob being where deep neural collapse is as good as
# zero.
SEARCHED_CLASSES = (3, 4, 5, 6, 7, 10)
SEARCHED_DEPTHS = (2, 3, 4, 5, 6)
SEARCHED_RATIOS = (1e-7, 1e-4, 0.01, 0.2, 0.9)

FILE = "relu_head_witnesses.json"


@dataclass(frozen=True)
class Witness:
    """The parameters of one explicit configuration's value, at the scale of its stored factors.

    cost: P, the product of all factors' squared Frobenius norms, the class means H included.
    trace, norm_sq: tr(O) and ||O||^2 of the class outputs O, (K, K).
    widths: the rows of H, W_1, .., W_{L-1}: a head whose layers are at least that wide can represent it.
    factors: H, W_1, .., W_L as they are stored.
    """

    num_classes: int
    depth: int
    cost: float
    trace: float
    norm_sq: float
    widths: tuple[int, ...]
    name: str
    factors: tuple[NDArray[np.float64], ...] = field(default=(), compare=False, repr=False)


@cache
def witnesses(depth: int) -> tuple[Witness, ...]:
    """All stored heads of `depth` weight matrices, for any number of classes; empty if none is known."""
    return tuple(_evaluated(entry) for entry in _stored() if entry["depth"] == depth)


@cache
def _stored() -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads(files("ncrun.theory").joinpath(FILE).read_text(encoding="utf-8"))
    return entries


def _evaluated(entry: dict[str, Any]) -> Witness:
    """The forward pass. entry["factors"]: H (d, K), W_1 (d_1, d), .., W_L (K, d_{L-1}) as nested lists."""
    factors: list[NDArray[np.float64]] = [np.array(factor, dtype=np.float64) for factor in entry["factors"]]
    signal = factors[0]
    for weight in factors[1:-1]:
        signal = np.maximum(weight @ signal, 0)
    outputs = factors[-1] @ signal
    return Witness(
        num_classes=entry["classes"],
        depth=entry["depth"],
        cost=float(np.prod([np.sum(factor**2) for factor in factors])),
        trace=float(np.trace(outputs)),
        norm_sq=float(np.sum(outputs**2)),
        widths=tuple(len(factor) for factor in factors[:-1]),
        name=f"{entry['classes']} classes, {entry['depth']} layers, found at {entry['found_at']:g} of Lam_glob",
        factors=tuple(factors),
    )
