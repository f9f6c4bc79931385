"""Metrics of features on targets: neural regression collapse, fit and directions.

NRC1 to NRC3 are from Andriopoulos et al. 2024 (The Prevalence of Neural Collapse in Neural Multivariate Regression),
with W the product of the head's layers.
"""

from typing import TYPE_CHECKING

from ncrun.metrics.metric import Metric

if TYPE_CHECKING:
    from ncrun.metrics.on_targets import OnTargets

TARGETS = ("targets",)
SPLITS = ("targets", "test_targets")
NRC = (
    "on targets of q numbers (Andriopoulos et al. 2024). h is a sample's features minus their mean, divided by its"
    " norm; N(A) = A/||A||_F. `nrc1`: mean over samples of the squared distance of h to the span of the features' q"
    " strongest principal directions. `nrc2`: the same to the span of W's rows. `nrc3`: squared distance of N(W W^T)"
    " to the nearest N(Sigma^(1/2) - c I), with c from 0 to the smallest eigenvalue of Sigma^(1/2), where Sigma is the"
    " targets' covariance (without a bias, their second moment). Null if it would always be zero: `nrc3` for q = 1,"
    " `nrc1` if q directions are all. With more than one layer the optimum has another W W^T: see `nc2_w`"
)
FIT = (
    "on targets of q numbers: 1 minus the squared error over the targets' squared distance to their mean, both summed"
    " over samples and numbers; squared error, averaged over both"
)
ALONG = (
    "on targets, for each principal direction u of Y (minus its mean with a bias), the strongest first, in the order"
    " of theory.json: u^T W W^T u; and the share of it in the outputs, u^T (W H)(Y)^T u / u^T Y Y^T u"
)


def _share(measured: "OnTargets") -> list[float] | None:
    return None if measured.along is None else measured.along[1]


REGRESSION = (
    Metric(
        "nrc1",
        "features outside q directions",
        "NRC1",
        NRC,
        lambda measured: measured.nrc1,
        SPLITS,
        live="NRC1",
        sign="NRC1",
        axis="share of the features",
    ),
    Metric(
        "nrc2",
        "features outside W's rows",
        "NRC2",
        NRC,
        lambda measured: measured.nrc2,
        SPLITS,
        live="NRC2",
        sign="NRC2",
        axis="share of the features",
    ),
    Metric(
        "nrc3",
        "W W^T to its family",
        "NRC3",
        NRC,
        lambda measured: measured.nrc3,
        TARGETS,
        live="NRC3",
        sign="NRC3",
        axis="squared distance",
    ),
    Metric("r2", "share of variance explained", r"$R^2$", FIT, lambda measured: measured.r2, SPLITS, live="R2"),
    Metric("mse", "mean squared error", "squared error", FIT, lambda measured: measured.mse, SPLITS),
    Metric(
        "direction.weight_norm_sq",
        "squared norm of W along a direction",
        r"$u^\top W W^\top u$",
        ALONG,
        lambda measured: None if measured.along is None else measured.along[0],
        TARGETS,
    ),
    Metric("direction.kept", "share of a direction in the outputs", "kept share", ALONG, _share, TARGETS),
)
