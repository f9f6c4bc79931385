"""The metrics of one layer's activations by themselves, whatever lies above it: of a head's hidden layer, or of a tap
in the backbone.

- nc1, nc1_rank, nc1_trace: as everywhere. DNC1 of Sukenik, Mondelli and Lampert 2023 is nc1_trace.
- cdnv: class-distance normalised variance, see class_distance_variance.
- dnc2: condition number s_1/s_K of the class means, not centred; None if they are dependent.
- dnc3: mean sine of the angle between a row of the weights that read the layer and the nearest class mean, rows
  weighted by their norm; a row at an obtuse angle to every mean counts as at a right one. None where no weights read
  it.
- etf_h: distance of the class means to the simplex ETF.
- rank: singular values of the class means above 1e-3 of the largest.
"""

import numpy as np
import torch
from torch import Tensor

from ncrun.metrics.distance import etf_distance
from ncrun.metrics.scatter import ClassMeans, between_directions, class_means, deviations

NUMERICAL_RANK = 1e-3

LayerMetrics = dict[str, float | int | list[float | None] | None]


def layer_metrics(
    points: Tensor, labels: Tensor, num_classes: int, precision: torch.dtype, reader: Tensor | None
) -> tuple[LayerMetrics, ClassMeans]:
    """All of the above, of (N, d) points, and their class means.

    precision: of the computation that the points come from; it decides what is rounding. reader: (d', d) weights that
    take the points as their input, or None. Raises ValueError if a class has no sample.
    """
    means = class_means(points, labels, num_classes)
    directions = between_directions(means, precision)
    axes = directions.axes / directions.values.sqrt()
    within = torch.zeros((), dtype=torch.float64, device=points.device)
    trace = torch.zeros(num_classes, dtype=torch.float64, device=points.device)
    for y, deviation in deviations(points, labels, means.means):
        within += (deviation @ axes).square().sum()
        trace.index_add_(0, y, torch.linalg.vector_norm(deviation, dim=1).square())
    alive, N = directions.rank > 0, len(points)
    singular = torch.linalg.svdvals(means.means)
    gram = means.means @ means.means.T
    return {
        "nc1": float(within) / N / num_classes if alive else None,
        "nc1_rank": directions.rank,
        "nc1_trace": float(trace.sum()) / N / directions.trace if alive else None,
        "cdnv": class_distance_variance(means, trace, precision) if directions.rank else None,
        "dnc2": condition(singular, num_classes, precision),
        "dnc3": None if reader is None else row_angles(reader, means.means),
        "etf_h": etf_distance(np.asarray(gram.cpu())),
        "rank": numerical_rank(means.means),
    }, means


def class_distance_variance(means: ClassMeans, trace: Tensor, precision: torch.dtype) -> float | None:
    """Mean over pairs of classes of (Var_j + Var_k) / (2 |h_j - h_k|^2) (Galanti, Gyorgy and Hutter 2022).
    trace: (K,), each class' sum of squared deviations from its mean.

    None if two class means are equal to within the features' precision.
    """
    K, variance = len(trace), trace / means.counts
    apart = torch.pdist(means.means)
    first, second = torch.triu_indices(K, K, 1, device=trace.device)
    if not bool((apart > K * torch.finfo(precision).eps * apart.max()).all()):
        return None
    return float(((variance[first] + variance[second]) / apart.square()).mean()) / 2


def numerical_rank(means: Tensor) -> int:
    """Singular values of the (K, d) class means above NUMERICAL_RANK of the largest; 0 if all are zero."""
    singular = torch.linalg.svdvals(means)
    return int((singular > NUMERICAL_RANK * singular[0]).sum())


def condition(singular: Tensor, num_classes: int, precision: torch.dtype) -> float | None:
    """s_1 / s_K, or None where the K class means are linearly dependent to within the features' precision."""
    if len(singular) < num_classes or not bool(singular[-1] > num_classes * torch.finfo(precision).eps * singular[0]):
        return None
    return float(singular[0] / singular[num_classes - 1])


def row_angles(weight: Tensor, means: Tensor) -> float | None:
    """sum_j |w_j| min_c sin(w_j, mu_c) / sum_j |w_j|; None if all rows or all means are zero."""
    rows, centres = weight.norm(dim=1), means.norm(dim=1)
    if not bool(rows.any()) or not bool(centres.any()):
        return None
    # The sine from what is left of the row outside the mean's line: sqrt(1 - cos^2) loses all digits near zero.
    units = means[centres > 0] / centres[centres > 0, None]
    along = weight @ units.T
    sines = rows[:, None].expand(-1, len(units)).clone()  # what an obtuse angle counts as
    for c, unit in enumerate(units):  # a class at a time: all at once would be rows x classes x dimensions
        rest = (weight - along[:, c, None] * unit).norm(dim=1)
        sines[:, c] = torch.where(along[:, c] > 0, rest, rows)
    return float(sines.amin(dim=1).sum() / rows.sum())
