"""The predicted numbers of columns of metrics.jsonl; distances to the prediction have none."""

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
# Numbers computed from its matrices, for the classifier and the class means.
FRAMES: dict[str, tuple[Callable[[dict[str, object]], tuple[float, ...]], int]] = {
    "equinorm_w": (usual_set.predicted_equinorm, 0),
    "equinorm_h": (usual_set.predicted_equinorm, 1),
    "angle_w": (usual_set.predicted_angle, 0),
    "angle_h": (usual_set.predicted_angle, 1),
    "duality": (usual_set.predicted_duality, 0),
}


def prediction_of(record: Record, metric: str, k: int | None = None) -> float:
    """nan if theory does not predict it. k: the class, for a metric by class.

    The objective, if theory knows it or a bound on it; not for a path of decays, along which it changes.
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
    """The column with an upper bound on a metric in a run; "" if there is none."""
    bound = f"{metric.rpartition('.')[2]}_bound"
    return bound if metric.startswith(f"head.{record.config['head']['depth']}.") and bound in record.metrics else ""


def along_path(record: Record) -> tuple[Array, Array, Array]:
    """For a path of decays: its factors (n,), and at each the predicted objective (n,) and margins (n, K); nan if there
    is none."""
    factors = np.unique(record.metrics["factor"].to_numpy(dtype=float))
    predictions = [predict(record.problem.scaled(factor)) for factor in factors]
    none = np.full(record.problem.num_classes, np.nan)
    margins = [none if (found := each.margins()) is None else found for each in predictions]
    return factors, np.array([each.objective for each in predictions], dtype=float), np.array(margins)


def has_baseline(record: Record, metric: str) -> bool:
    """Whether the distance to the balanced prediction is recorded, and that prediction differs."""
    counts = record.manifest["class_counts"]
    return f"balanced.{metric}" in record.metrics and min(counts) < max(counts)
