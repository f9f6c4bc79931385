"""Numbers of a run on targets along their principal directions, beside the prediction."""

import numpy as np
from numpy.typing import NDArray

from ncrun.records.read import Record

Array = NDArray[np.float64]


def measured(record: Record, key: str) -> Array | None:
    """(epochs, r): a metric with a number for each direction; None if the run has none."""
    if key not in record.metrics or record.metrics[key].isna().any():
        return None
    return np.array(record.metrics[key].tolist(), dtype=float)


def predicted(record: Record, entry: str) -> Array:
    """(r,): an entry of each direction in theory.json. If only a shape is predicted, `weight_norm_sq` and
    `feature_norm_sq` are in units of the measured last value of the first direction."""
    found = np.array([each[entry] for each in record.theory["directions"] or ()], dtype=float)
    values = measured(record, f"direction.{entry}")
    if record.theory["scale_free"] and entry != "kept" and values is not None:
        found *= values[-1, 0] / found[0]
    return found
