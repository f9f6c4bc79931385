"""Deep neural collapse: the metrics of a head with a ReLU between its layers, layer by layer.

Layer l = 1..L reads F_l: the features themselves for l = 1, after the ReLU of the layer below from l = 2 on. In the
terms of Sukenik, Mondelli and Lampert 2023:
- head.l.nc1, nc1_rank, nc1_trace: as everywhere, of F_l. DNC1 is nc1_trace.
- head.l.dnc2: condition number s_1/s_K of the class means of F_l, not centred; None if they are dependent.
- head.l.pre_dnc2: the same before that ReLU, from l = 2 on. The theorem has it for l >= 3 only.
- head.l.dnc3: mean sine of the angle between a row of W_l and the nearest class mean of F_l, rows weighted by their
  norm; a row at an obtuse angle to every mean counts as at a right one.
- head.l.nc2_h: distance of the class means' Gram matrix to the prediction, where there is one (not for l = 1).
- head.l.rank: singular values of the class means above 1e-3 of the largest.
The top level (nc1, nc2_w, nc2_h, nc3, ...) is layer L: W = W_L, and its input.
"""

import torch
from torch import Tensor

from ncrun.metrics.collapse import Head, Metrics, Split, collapse_metrics
from ncrun.metrics.distance import shape_distance
from ncrun.metrics.scatter import between_directions, class_means
from ncrun.theory import Geometry

NUMERICAL_RANK = 1e-3


def layer_inputs(features: Tensor, head: Head) -> tuple[list[Tensor], list[Tensor | None]]:
    """F_1 .. F_L, each (N, d_l), and the same before the ReLU (None for l = 1), in float64."""
    inputs: list[Tensor] = [features.double()]
    before: list[Tensor | None] = [None]
    for weight in head.weights[:-1]:
        raw = inputs[-1] @ weight.T
        before.append(raw)
        inputs.append(raw.relu())
    return inputs, before


def top_layer(head: Head) -> Head:
    """The last layer alone, which is a linear head on its input."""
    return Head(head.weights[-1:], head.bias)


def relu_head_metrics(
    features: Tensor, labels: Tensor, head: Head, top: Split, target: Geometry, baseline: Geometry
) -> Metrics:
    """All metrics of the training split. top: the scan of F_L with the last layer."""
    whole = collapse_metrics(top, top_layer(head), target, baseline)
    found = {key: value for key, value in whole.items() if not key.startswith("head.")}
    K = len(head.bias)
    inputs, before = layer_inputs(features, head)
    for layer, (points, raw) in enumerate(zip(inputs, before, strict=True)):
        means = class_means(points, labels, K)
        directions = between_directions(means, features.dtype)
        deviation = points - means.means[labels]
        within = (deviation @ directions.axes / directions.values.sqrt()).square().sum()
        alive = directions.rank > 0
        gram = means.means @ means.means.T
        predicted = target.input_grams[layer] if target.input_grams else None
        singular = torch.linalg.svdvals(means.means)
        found |= {
            f"head.{layer + 1}.{key}": value
            for key, value in {
                "nc1": float(within) / len(points) / K if alive else None,
                "nc1_rank": directions.rank,
                "nc1_trace": float(deviation.square().sum()) / len(points) / directions.trace if alive else None,
                "dnc2": _condition(singular, K, features.dtype),
                "dnc3": _row_angles(head.weights[layer], means.means),
                "nc2_h": None if predicted is None else shape_distance(gram.cpu().numpy(), predicted),
                "rank": int((singular > NUMERICAL_RANK * singular[0]).sum()),
            }.items()
        }
        if raw is not None:
            raw_singular = torch.linalg.svdvals(class_means(raw, labels, K).means)
            found[f"head.{layer + 1}.pre_dnc2"] = _condition(raw_singular, K, features.dtype)
    return found


def _condition(singular: Tensor, num_classes: int, precision: torch.dtype) -> float | None:
    """s_1 / s_K, or None where the K class means are linearly dependent to within the features' precision."""
    if len(singular) < num_classes or not bool(singular[-1] > num_classes * torch.finfo(precision).eps * singular[0]):
        return None
    return float(singular[0] / singular[num_classes - 1])


def _row_angles(weight: Tensor, means: Tensor) -> float | None:
    """sum_j |w_j| min_c sin(w_j, mu_c) / sum_j |w_j|; None if all rows or all means are zero."""
    rows, centres = weight.norm(dim=1), means.norm(dim=1)
    if not bool(rows.any()) or not bool(centres.any()):
        return None
    # The sine from what is left of the row outside the mean's line: sqrt(1 - cos^2) loses all digits near zero.
    units = means[centres > 0] / centres[centres > 0, None]
    along = weight @ units.T
    rest = (weight[:, None] - along[:, :, None] * units[None]).norm(dim=2)
    sines = torch.where(along > 0, rest, rows[:, None])
    return float(sines.amin(dim=1).sum() / rows.sum())
