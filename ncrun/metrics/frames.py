"""How far vectors are from a frame: equal norms, equal angles, independence, separation. Most of these metrics need no
prediction."""

from typing import TYPE_CHECKING

from ncrun.metrics.collapse import EVERYWHERE
from ncrun.metrics.effective import GAP, SMALLEST_SHARE, num_effective
from ncrun.metrics.metric import Metric
from ncrun.metrics.tiles import parts

if TYPE_CHECKING:
    from torch import Tensor

    from ncrun.metrics.measured import Layer, Measured

FRAME = (
    "for the classifier's rows (not centred) and for the class means minus their unweighted mean (Papyan, Han and"
    " Donoho 2020)"
)
NORMS = f"standard deviation (unbiased) over mean of the norms, {FRAME}"
ANGLES = f"mean over pairs of |cos + 1/(K-1)|, {FRAME}"


def norm_spread(vectors: "Tensor") -> float | None:
    """(K, d) -> standard deviation of the norms over their mean; None if one of them is zero."""
    norms = vectors.norm(dim=1)
    return float(norms.std() / norms.mean()) if bool((norms > 0).all()) else None


def angle_spread(vectors: "Tensor") -> float | None:
    """(K, d) -> how far the angles are from a cosine of -1/(K-1); None if a vector is zero."""
    K, norms = len(vectors), vectors.norm(dim=1)
    if not bool((norms > 0).all()):
        return None
    total = norms.new_zeros(())
    for part in parts(K, K):
        apart = (vectors[part] @ vectors.T) / norms / norms[part, None] + 1 / (K - 1)
        apart.diagonal(part.start).zero_()
        total += apart.abs_().sum()
    return float(total) / (K * (K - 1))


def uniformity(measured: "Layer") -> float | None:
    """GNC2; None if, to within the precision, a class mean equals the mean of all or two have the same direction."""
    pairs = measured.pairs_of_directions
    if pairs is None:
        return None
    if not pairs.smallest > measured.num_classes * measured.eps or pairs.log_mean == 0:
        return None
    return pairs.log_spread / abs(pairs.log_mean)


def alignment_spread(measured: "Measured") -> float | None:
    """UNC3; None if a row of the classifier is zero, or if, to within the precision, a class mean equals the mean of
    all or the mean cosine is zero."""
    directions, norms = measured.mean_directions, measured.weight.norm(dim=1)
    if directions is None or not bool((norms > 0).all()):
        return None
    cosines = (measured.weight * directions).sum(dim=1) / norms
    mean = float(cosines.mean().abs())
    return float(cosines.std()) / mean if mean > measured.num_classes * measured.eps else None


def cdnv(measured: "Layer") -> float | None:
    if not measured.alive:
        return None
    pairs = measured.pairs
    if not pairs.smallest > measured.num_classes * measured.eps * pairs.largest:
        return None
    return pairs.variance_ratio / 2


def rank(measured: "Layer") -> int:
    """0 if all are zero."""
    return num_effective(measured.singular_values)


def condition(singular: "Tensor", num_classes: int, eps: float) -> float | None:
    """s_1 / s_K, or None if the K class means are linearly dependent to within the features' precision."""
    if len(singular) < num_classes or not bool(singular[-1] > num_classes * eps * singular[0]):
        return None
    return float(singular[0] / singular[num_classes - 1])


def row_angles(weight: "Tensor", means: "Tensor") -> float | None:
    """sum_j |w_j| min_c sin(w_j, mu_c) / sum_j |w_j|; None if all rows or all means are zero."""
    rows, centres = weight.norm(dim=1), means.norm(dim=1)
    if not bool(rows.any()) or not bool(centres.any()):
        return None
    # The sine from the part of the row orthogonal to the mean: sqrt(1 - cos^2) loses all digits near zero.
    units = means[centres > 0] / centres[centres > 0, None]
    along = weight @ units.T
    sines = rows[:, None].expand(-1, len(units)).clone()  # the sine that an obtuse angle counts as
    for c, unit in enumerate(units):  # one class at a time: all at once would need rows x classes x dimensions
        rest = (weight - along[:, c, None] * unit).norm(dim=1)
        sines[:, c] = rest.where(along[:, c] > 0, rows)
    return float(sines.amin(dim=1).sum() / rows.sum())


RANK = Metric(
    "rank",
    "rank of the class means",
    r"rank of $\bar H$",
    f"number of singular values of the class means above {SMALLEST_SHARE:g} of the largest and before the first drop"
    f" by a factor of {GAP}; records of earlier versions count those after such a drop, too",
    rank,
    EVERYWHERE,
)

FRAMES = (
    Metric(
        "equinorm_w",
        "spread of the classifier's norms",
        r"norms of $W$",
        NORMS,
        lambda measured: norm_spread(measured.weight),
    ),
    Metric(
        "angle_w",
        "spread of the classifier's angles",
        r"angles of $W$",
        ANGLES,
        lambda measured: angle_spread(measured.weight),
    ),
    Metric(
        "equinorm_h",
        "spread of the class means' norms",
        r"norms of $\bar H$",
        NORMS,
        lambda measured: norm_spread(measured.centred_means) if measured.alive else None,
    ),
    Metric(
        "angle_h",
        "spread of the class means' angles",
        r"angles of $\bar H$",
        ANGLES,
        lambda measured: angle_spread(measured.centred_means) if measured.alive else None,
    ),
    Metric(
        "cdnv",
        "class-distance normalised variance",
        "CDNV",
        "class-distance normalised variance: mean over pairs of classes of (Var_j + Var_k) / (2 |h_j - h_k|^2)"
        " (Galanti, Gyorgy and Hutter 2022); null if two class means are equal to within the features' precision",
        cdnv,
        ("run", "relu", "tap"),
        sign="CDNV",
        axis="variance / distance²",
    ),
    Metric(
        "gnc2",
        "spread of the class means over the sphere",
        r"$\mathrm{GNC2}$",
        "generalised NC2: standard deviation (unbiased) over absolute mean, over pairs of classes, of log(1 / |m_j -"
        " m_k|), where m_k is the class mean minus the unweighted mean of all, scaled to norm 1 (Wu and Papyan 2024)."
        " Zero for equal distances, also with more classes than dimensions; null if two means have the same direction"
        " or one is zero",
        uniformity,
        sign="GNC2",
        axis="spread over the sphere",
    ),
    Metric(
        "unc3",
        "spread of the alignment",
        r"$\mathrm{UNC3}$",
        "uniform NC3: standard deviation (unbiased) over absolute mean, over classes, of the cosine between the"
        " classifier's row and the class mean minus the unweighted mean of all (Wu and Papyan 2024)",
        alignment_spread,
        sign="UNC3",
    ),
)

DEEP_COLLAPSE = (
    Metric(
        "dnc2",
        "condition number of the class means",
        r"$\kappa(\bar H)$",
        "ReLU heads and taps: condition number s_1/s_K of the class means, not centred; null if they are linearly"
        " dependent (DNC2 of Sukenik, Mondelli and Lampert 2023)",
        lambda measured: condition(measured.singular_values, measured.num_classes, measured.eps),
        ("relu", "tap"),
    ),
    Metric(
        "dnc3",
        "mean angle of weights to class means",
        r"$\sin\angle(W, \bar H)$",
        "ReLU heads and taps: mean sine of the angle between each row of the weights that read the layer and its"
        " nearest class mean, weighted by the norm of the row. An obtuse angle to every mean counts as a right angle;"
        " null if no weights read the layer directly",
        lambda measured: None if measured.reader is None else row_angles(measured.reader, measured.means.means),
        ("relu", "tap"),
    ),
    Metric(
        "pre_dnc2",
        "condition number of the class means before the ReLU",
        r"$\kappa(\bar H)$ before the ReLU",
        "ReLU heads (`head.l.pre_dnc2`): `dnc2` before the layer's ReLU, from layer 2 on (in the theorem from layer 3"
        " on)",
        lambda measured: condition(measured.singular_values_below, measured.num_classes, measured.eps),
        ("relu",),
        applies=lambda measured: measured.below is not None,
    ),
)
