"""`ncrun.measure`: the arrays of a network that was trained elsewhere, checked, posed to theory and measured."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ncrun.arrays import any_negative, as_array, check_size, class_labels, floats, shape_of
from ncrun.errors import UserError
from ncrun.losses import LOSSES, Options
from ncrun.measurement import Measurement, finished
from ncrun.metrics.metric import Metrics
from ncrun.metrics.on_targets import target_row, target_transfer
from ncrun.metrics.rows import training_metrics, transfer_metrics
from ncrun.posed import Posed, classifier, pose
from ncrun.stated import target_numbers

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from ncrun.posed import Layers


def measure(
    features: "ArrayLike | Tensor",
    labels: "ArrayLike | Tensor | None",
    weights: "Layers",
    bias: "ArrayLike | Tensor | None" = None,
    *,
    targets: "ArrayLike | Tensor | None" = None,
    loss: str = "mse",
    label_smoothing: float = 0.0,
    class_weights: str | Sequence[float] | None = None,
    logit_adjustment: float = 0.0,
    decay_weight: float | Sequence[float] | None = None,
    decay_feature: float | None = None,
    decay_bias: float = 0.0,
    nonnegative_features: bool | None = None,
    test: "tuple[ArrayLike | Tensor, ArrayLike | Tensor] | None" = None,
) -> Measurement:
    """Measures the collapse of a network that was trained elsewhere, and compares it with the predicted geometry.

    features: (N, d) of all training samples, in evaluation mode, float16 to float64; accumulated in float64.
    labels: (N,) integers 0..K-1; every class needs a sample. None if there are targets.
    weights: the classifier, (K, d); or a linear head's layers [W_1, .., W_M], where W_1 reads the features and W_M has
        K rows; or an nn.Linear, an nn.Sequential of them (with an nn.ReLU between all of them or none), or the head of
        an ncrun network.
    bias: (K,) of the last layer; a module has its own.
    targets: (N,) or (N, K) numbers instead of classes: regression, several labels at once, soft labels. NRC1 to NRC3
        and the other columns of a run on targets are measured.
    loss: the loss of the training: "mse", 1/(2N) ||logits - Y||^2, or "ce", the mean cross-entropy. label_smoothing,
    class_weights, logit_adjustment: the options of "ce", as `ncrun.predict` takes them; "balanced" uses the counts of
    the labels.
    decay_weight, decay_feature: lam_W (a number, or one for each layer) and lam_H of the objective
        data term + sum_m lam_W/2 ||W_m||^2 + lam_H/2 ||H||^2.
        With both, the prediction is exact for these counts, and loss, gap and ledger are measured. Without
        decay_feature (plain weight decay) it is the limit at vanishing decay up to scale, and these are null.
        decay_bias: lam_b of a term lam_b/2 ||b||^2, together with decay_feature.
    nonnegative_features: whether the features come out of a ReLU. The prediction depends on it. It must be given if no
        feature is negative; if one is, it is False.
    test: features and labels, or targets, of a test split.

    Raises UserError, in one line, for arrays of wrong shape or type, values that are not finite, labels other than
    0..K-1, a class without a sample, and a feature sign that is missing or false.
    Definitions: docs/reference/metrics.md.
    """
    LOSSES[loss]  # raises UserError with the choices
    if (labels is None) == (targets is None):
        raise UserError(f"labels and targets: {'one of them is needed' if labels is None else 'give one of them'}")
    network = classifier(weights, bias, of_classes=targets is None)
    K = network.num_outputs
    points = floats("features", features, 2)
    own = class_labels("labels", labels, len(points), K) if targets is None else None
    numbers = None if targets is None else _numbers("targets", targets, len(points), K)
    check_size("features", points)
    network.check_width(points.shape[1])
    posed = pose(
        network,
        None if own is None else torch.bincount(own, minlength=K),
        any_negative(points),
        loss,
        Options(label_smoothing, class_weights, logit_adjustment),
        decay_weight,
        decay_feature,
        nonnegative_features,
        decay_bias,
        None if numbers is None else numbers.numpy(),
    )
    apart = None if test is None else _test_features(test[0], points.shape[1])
    if own is not None:
        test_labels = None if test is None or apart is None else class_labels("test_labels", test[1], len(apart), K)
        return finished(_on_classes(points, own, apart, test_labels, posed), posed)
    assert numbers is not None
    test_targets = None if test is None or apart is None else _numbers("test_targets", test[1], len(apart), K)
    return finished(_on_targets(points, numbers, apart, test_targets, posed), posed)


def _on_classes(
    points: Tensor, labels: Tensor, test_points: Tensor | None, test_labels: Tensor | None, posed: Posed
) -> Metrics:
    with _small_enough("features or classifier"):
        row, means = training_metrics(points, labels, posed.head, posed.objective, posed.target, posed.baseline)
    if test_points is not None and test_labels is not None:
        with _small_enough("test_features"):
            row |= transfer_metrics(test_points, test_labels, posed.head, means, posed.target)
    return row


def _on_targets(
    points: Tensor, targets: Tensor, test_points: Tensor | None, test_targets: Tensor | None, posed: Posed
) -> Metrics:
    with _small_enough("features, targets or classifier"):
        row = target_row(points, targets, posed.head, posed.objective, posed.target)
    if test_points is not None and test_targets is not None:
        with _small_enough("test_features"):
            row |= target_transfer(test_points, test_targets, posed.head, posed.target)
    return row


@contextmanager
def _small_enough(what: str) -> Iterator[None]:
    """Raises UserError for what is not."""
    try:
        yield
    except FloatingPointError as error:
        raise UserError(f"{what}: are too large to measure ({error})") from error


def _test_features(values: "ArrayLike | Tensor", width: int) -> Tensor:
    points = floats("test_features", values, 2)
    if points.shape[1] != width:
        raise UserError(f"test_features: expected dimension {width}, as features has, found {points.shape[1]}")
    check_size("test_features", points)
    return points


def _numbers(name: str, values: "ArrayLike | Tensor", number: int, outputs: int) -> Tensor:
    """(N, q) in float64."""
    array = target_numbers(name, as_array(name, values))
    if array.shape != (number, outputs):
        raise UserError(
            f"{name}: expected ({number},{outputs}), a row for each row of the features and a number for each of the"
            f" classifier's, found {shape_of(array)}"
        )
    return torch.from_numpy(array)
