"""Metrics by class: each is a list with one number for each class."""

from typing import TYPE_CHECKING

from ncrun.metrics.metric import Metric

if TYPE_CHECKING:
    from torch import Tensor

    from ncrun.metrics.measured import Measured

NORMS = "by class: squared norms of the classifier's rows and of the class means (not centred)"


def numbers(tensor: "Tensor") -> list[float | None]:
    """(K,), None where it has no number."""
    return [float(value) if value == value else None for value in tensor.tolist()]


def class_nc1(measured: "Measured") -> list[float | None] | None:
    if not measured.alive:
        return None
    return numbers(measured.spread.class_within / measured.means.counts / measured.num_classes)


CLASSES = (
    Metric(
        "class.nc1",
        "within-class spread, by class",
        r"$\mathrm{NC1}$ by class",
        "by class: `nc1` with the covariance of this class instead of Sigma_W, because an average over samples hides"
        " rare classes",
        class_nc1,
        sign="NC1",
        axis="within-class spread",
    ),
    Metric(
        "class.weight_norm_sq",
        "squared norm of the classifier's row",
        r"$\|w_k\|^2$",
        NORMS,
        lambda measured: numbers(measured.weight.square().sum(dim=1)),
    ),
    Metric(
        "class.feature_norm_sq",
        "squared norm of the class mean",
        r"$\|\bar h_k\|^2$",
        NORMS,
        lambda measured: measured.means.means.square().sum(dim=1),
    ),
    Metric(
        "class.margin",
        "margin of the class mean",
        "margin",
        "by class: the class mean's logit for its own class minus its largest other logit, with the bias",
        lambda measured: measured.margins,
    ),
)
