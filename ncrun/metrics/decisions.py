"""The class of a sample according to the classifier and to the nearest class mean."""

from ncrun.metrics.classes import numbers
from ncrun.metrics.metric import Metric

ACCURACY = "share of correctly classified samples; of all samples, and by class"
NEAREST = (
    "share of samples on which the classifier and the nearest class mean (of the training set) disagree; share of"
    " samples on which one of them has a tie. A tie counts as agreement if the two sets of best classes overlap"
)

DECISIONS = (
    Metric(
        "nc4",
        "classifier against nearest mean",
        r"$\mathrm{NC4}$",
        NEAREST,
        lambda measured: measured.about_train.disagree / measured.num_samples,
        ("run", "test"),
        sign="NC4",
        axis="share of samples",
    ),
    Metric(
        "nc4_ties",
        "share of ties",
        r"$\mathrm{NC4}$ ties",
        NEAREST,
        lambda measured: measured.about_train.tied / measured.num_samples,
        ("run", "test"),
        sign="NC4",
    ),
    Metric(
        "train_accuracy",
        "training accuracy",
        "training accuracy",
        ACCURACY,
        lambda measured: float(measured.scan.correct.sum()) / measured.num_samples,
        live="train acc",
    ),
    Metric(
        "class.train_accuracy",
        "training accuracy, by class",
        "training accuracy by class",
        ACCURACY,
        lambda measured: numbers(measured.scan.correct / measured.means.counts),
    ),
    Metric(
        "test_accuracy",
        "test accuracy",
        "test accuracy",
        ACCURACY,
        lambda measured: float(measured.scan.correct.sum()) / measured.num_samples,
        ("test",),
        live="test acc",
    ),
    Metric(
        "class.test_accuracy",
        "test accuracy, by class",
        "test accuracy by class",
        ACCURACY,
        lambda measured: numbers(measured.scan.correct / measured.means.counts),
        ("test",),
    ),
)
