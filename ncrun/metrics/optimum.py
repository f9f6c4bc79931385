"""The gap of the loss to its optimum, and the ledger of its causes."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from ncrun.metrics.metric import Metric, Value

if TYPE_CHECKING:
    from ncrun.metrics.ledger import Ledger
    from ncrun.metrics.measured import Measured

EITHER = ("run", "targets")
LOSS = "the full objective, and its data term"


def gap(measured: "Measured") -> float | None:
    target = measured.target
    if measured.loss is None or target.objective is None or not target.is_lower_bound:
        return None
    found = measured.loss / target.objective - 1  # a predicted objective is never zero
    return found if math.isfinite(found) else None


def balance(measured: "Measured") -> float | None:
    """The equation holds at every stationary point (Dang et al. 2023, stationarity conditions). A pair of layers is
    skipped if its lower one is zero."""
    if measured.head.relu:
        return None
    weights, decays = measured.head.weights, measured.target.problem.weight_decays
    worst: float | None = None
    for m in range(len(weights) - 1):
        below = decays[m] * weights[m] @ weights[m].T
        above = decays[m + 1] * weights[m + 1].T @ weights[m + 1]
        size = float(below.norm())
        if size > 0:
            worst = max(worst or 0.0, float((above - below).norm()) / size)
    return worst


def has_ledger(measured: "Measured") -> bool:
    """Only if the optimum is the spectral one: a certified optimum lies above the value from which the terms are
    counted."""
    target = measured.target
    linear = target.problem.loss == "mse" and not measured.head.relu
    return linear and target.claim == "proven" and target.objective is not None


def _entry(name: str, words: str, latex: str, term: "Callable[[Ledger], float]") -> Metric:
    def function(measured: "Measured") -> Value:
        return term(measured.ledger)

    return Metric(
        f"ledger.{name}",
        words,
        latex,
        "squared loss on a linear head: four terms, each at least zero, whose sum is loss minus optimum: spread"
        " within classes; imbalance between head and features; the bias; the geometry of means and logits",
        function,
        applies=has_ledger,
    )


OPTIMUM = (
    Metric(
        "loss",
        "loss",
        "loss",
        LOSS,
        lambda measured: measured.loss,
        EITHER,
        live="loss",
    ),
    Metric(
        "data_term",
        "data term of the loss",
        "data term",
        LOSS,
        lambda measured: measured.data_term,
        EITHER,
    ),
    Metric(
        "gap",
        "loss / optimum − 1",
        r"loss / optimum $-$ 1",
        "loss / proven or certified optimum - 1; else null",
        gap,
        EITHER,
        live="gap",
        sign="gap",
    ),
    _entry("within_class", "ledger: within-class spread", "within-class spread", lambda ledger: ledger.within_class),
    _entry("duality", "ledger: unbalanced head and features", "unbalanced factors", lambda ledger: ledger.duality),
    _entry("bias", "ledger: bias", "bias", lambda ledger: ledger.bias),
    _entry("geometry", "ledger: geometry of the class means", "geometry of means", lambda ledger: ledger.geometry),
)

BALANCE = Metric(
    "balance",
    "imbalance of the head's layers",
    "imbalance of layers",
    "the largest relative Frobenius distance between lam_{m+1} W_{m+1}^T W_{m+1} and lam_m W_m W_m^T over"
    " neighbouring layers of a linear head",
    balance,
    EITHER,
)
