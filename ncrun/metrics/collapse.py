"""The geometry of neural collapse: spread within classes, and distances of classifier and class means to a target."""

from typing import TYPE_CHECKING

from ncrun.metrics.distance import etf_distance, shape_distance
from ncrun.metrics.effective import GAP, SMALLEST_SHARE
from ncrun.metrics.metric import Metric

if TYPE_CHECKING:
    from ncrun.metrics.measured import Layer

# At every layer, independent of the layers above it.
EVERYWHERE = ("run", "head", "relu", "tap")
RANKS = "number of directions of the class means in which `nc1` was measured, and the number that theory predicts"
EFFECTIVE = (
    "`nc1` in the effective directions only, and the number of these directions. A direction is effective if its"
    f" singular value is above {SMALLEST_SHARE:g} of the largest and before the first drop by a factor of {GAP}. If"
    " classes share directions, `nc1` divides by residues of training in the other directions and says nothing about"
    " collapse. Null if the class means are equal, or differ so little that no logit changes by 1e-8"
)
DISTANCES = (
    "distance of W W^T, Hbar^T Hbar and W Hbar to the prediction, after division of each matrix by its Frobenius norm."
    " W is the product of the head's layers. Hbar holds the class means: minus the sample-weighted mean with an"
    " undecayed bias on features of free sign, else not centred. If several optima exist because of a bottleneck, the"
    " distance is to the nearest one. Inner layers of a ReLU head have only `nc2_h`. On targets Hbar holds the"
    " features of all samples"
)
BALANCED = "the same distances to the prediction for equal class counts"
ETF = (
    "distance of W W^T and Hbar^T Hbar to the simplex ETF, after subtraction of the unweighted mean over classes;"
    " distance of W to Hbar^T, where Hbar is centred as in `nc2_h`"
)


def nc1(measured: "Layer") -> float | None:
    return measured.within / measured.num_samples / measured.num_classes if measured.alive else None


def nc1_effective(measured: "Layer") -> float | None:
    if not measured.moves_loss:
        return None
    return measured.spread.within_effective / measured.num_samples / measured.num_classes


def nc1_trace(measured: "Layer") -> float | None:
    if not measured.alive:
        return None
    return measured.spread.trace / measured.num_samples / measured.directions.trace


COLLAPSE = (
    Metric(
        "nc1",
        "within-class spread",
        r"$\mathrm{NC1}$",
        "tr(Sigma_W pinv(Sigma_B)) / K. Sigma_W averages over samples, Sigma_B over classes, unweighted, about the"
        " sample-weighted mean (Dang et al. 2023, 2024)",
        nc1,
        (*EVERYWHERE, "test"),
        live="NC1",
        sign="NC1",
    ),
    Metric(
        "test.nc1_train_means",
        "within-class spread about the training set's means, test split",
        r"$\mathrm{NC1}$ about training means",
        "test split: `nc1` with deviations from the training set's class means (`test.nc1` uses the test split's own)",
        lambda measured: (
            measured.about_train.spread[0].within / measured.num_samples / measured.num_classes
            if measured.about_train.directions[0].rank
            else None
        ),
        ("test",),
        sign="NC1",
        axis="spread about training means",
    ),
    Metric("nc1_rank", "directions of the class means", "rank", RANKS, lambda m: m.directions.rank, EVERYWHERE),
    Metric(
        "nc1_trace",
        "within-class over between-class variance",
        r"$\mathrm{tr}\,\Sigma_W / \mathrm{tr}\,\Sigma_B$",
        "tr Sigma_W / tr Sigma_B: also counts spread outside the span of the class means, which matters for K = 2."
        " DNC1 of Sukenik, Mondelli and Lampert 2023",
        nc1_trace,
        (*EVERYWHERE, "test"),
        axis=r"$\mathrm{tr}\,\Sigma_W / \mathrm{tr}\,\Sigma_B$",
    ),
    Metric(
        "nc1_effective",
        "within-class spread in the effective directions",
        r"$\mathrm{NC1}$ (effective)",
        EFFECTIVE,
        nc1_effective,
        (*EVERYWHERE, "test"),
        sign="effective NC1",
        axis="within-class spread",
    ),
    Metric(
        "nc1_effective_rank",
        "effective directions of the class means",
        "effective rank",
        EFFECTIVE,
        lambda measured: measured.directions.effective,
        (*EVERYWHERE, "test"),
    ),
    Metric(
        "nc2_w",
        "classifier to the prediction",
        r"$\mathrm{NC2}_W$",
        DISTANCES,
        lambda measured: measured.to_prediction[0],
        ("run", "head", "targets"),
        live="NC2 W",
        sign="NC2(W)",
        axis="relative distance",
    ),
    Metric(
        "nc2_h",
        "class means to the prediction",
        r"$\mathrm{NC2}_H$",
        DISTANCES,
        lambda measured: measured.to_prediction[1],
        ("run", "head", "relu", "test", "targets"),
        live="NC2 H",
        sign="NC2(H)",
        axis="relative distance",
    ),
    Metric(
        "nc3",
        "classifier × means to the prediction",
        r"$\mathrm{NC3}$",
        DISTANCES,
        lambda measured: measured.to_prediction[2],
        ("run", "head", "test", "targets"),
        live="NC3",
        sign="NC3",
        axis="relative distance",
    ),
    Metric(
        "etf_w",
        "classifier to simplex ETF",
        r"$W$ to ETF",
        ETF,
        lambda measured: etf_distance(measured.weight_array),
        ("run", "head"),
    ),
    Metric(
        "etf_h",
        "class means to simplex ETF",
        r"$\bar H$ to ETF",
        ETF,
        lambda measured: etf_distance(measured.raw_means) if measured.alive else None,
        EVERYWHERE,
    ),
    Metric(
        "duality",
        "classifier to class means",
        r"$W$ to $\bar H^\top$",
        ETF,
        lambda measured: shape_distance(measured.weight_array, measured.dual_means),
        ("run", "head"),
    ),
)

AGAINST_BALANCED = (
    Metric(
        "balanced.nc2_w",
        "classifier to the balanced prediction",
        r"$\mathrm{NC2}_W$ (balanced)",
        BALANCED,
        lambda measured: measured.to_baseline[0],
        sign="NC2(W)",
        axis="relative distance",
    ),
    Metric(
        "balanced.nc2_h",
        "class means to the balanced prediction",
        r"$\mathrm{NC2}_H$ (balanced)",
        BALANCED,
        lambda measured: measured.to_baseline[1],
        sign="NC2(H)",
        axis="relative distance",
    ),
    Metric(
        "balanced.nc3",
        "classifier × means to the balanced prediction",
        r"$\mathrm{NC3}$ (balanced)",
        BALANCED,
        lambda measured: measured.to_baseline[2],
        sign="NC3",
        axis="relative distance",
    ),
    Metric(
        "nc1_rank_predicted",
        "predicted directions of the class means",
        "predicted rank",
        RANKS,
        lambda measured: measured.target.mean_rank,
    ),
)
