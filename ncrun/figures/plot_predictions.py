"""What theory predicts for a column of metrics.jsonl, where that is a number; a distance to the prediction is none."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ncrun.figures import usual_set
from ncrun.records.read import Record
from ncrun.theory import predict

Array = NDArray[np.float64]
# Entries of theory.json.
NUMBERS = {"loss": "objective", "data_term": "data_term", "nc1_rank": "mean_rank"}
BY_CLASS = {f"class.{name}": name for name in ("weight_norm_sq", "feature_norm_sq", "margin")}
# What follows from its matrices: of the classifier, and of the class means.
FRAMES: dict[str, tuple[Callable[[dict[str, object]], tuple[float, ...]], int]] = {
    "equinorm_w": (usual_set.predicted_equinorm, 0),
    "equinorm_h": (usual_set.predicted_equinorm, 1),
    "angle_w": (usual_set.predicted_angle, 0),
    "angle_h": (usual_set.predicted_angle, 1),
    "duality": (usual_set.predicted_duality, 0),
}


def prediction_of(record: Record, metric: str, k: int | None = None) -> float:
    """nan where theory says nothing of it. k: of a metric that is a list, the class.

    The objective counts where theory knows it, or a bound of it: not of a path of decays, along which it changes.
    """
    theory = record.theory
    if "factor" in record.metrics:
        return np.nan
    value: float | None = None
    if metric in NUMBERS:
        value = theory.get(NUMBERS[metric])  # older records have fewer
    elif metric in BY_CLASS and k is not None and k < len(theory["classes"]):
        value = theory["classes"][k][BY_CLASS[metric]]
    elif metric in FRAMES and all(theory[name] is not None for name in ("weight_gram", "feature_gram", "logits")):
        function, place = FRAMES[metric]
        value = function(theory)[place]
        value = value if value > usual_set.SMALLEST else None
    return np.nan if value is None else float(value)


def bound_of(record: Record, metric: str) -> str:
    """The column that a metric cannot exceed in a run; "" where none is known."""
    bound = f"{metric.rpartition('.')[2]}_bound"
    return bound if metric.startswith(f"head.{record.config['head']['depth']}.") and bound in record.metrics else ""


def along_path(record: Record) -> tuple[Array, Array, Array]:
    """Of a path of decays: its factors (n,), and at each the predicted objective (n,) and margins (n, K); nan where
    there is none."""
    factors = np.unique(record.metrics["factor"].to_numpy(dtype=float))
    predictions = [predict(record.problem.scaled(factor)) for factor in factors]
    none = np.full(record.problem.num_classes, np.nan)
    margins = [none if (found := each.margins()) is None else found for each in predictions]
    return factors, np.array([each.objective for each in predictions], dtype=float), np.array(margins)


def has_baseline(record: Record, metric: str) -> bool:
    """Whether the same distance to the prediction for equal class counts is there, and that is another prediction."""
    counts = record.manifest["class_counts"]
    return f"balanced.{metric}" in record.metrics and min(counts) < max(counts)
