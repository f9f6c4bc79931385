"""A row of metrics.jsonl: the metrics of every level under their column names."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from ncrun.metrics import at_level
from ncrun.metrics.collected import NotCollected, missing
from ncrun.metrics.measured import Array, Layer, Measured
from ncrun.metrics.metric import Metrics, Value
from ncrun.metrics.relu_head import layer_inputs, top_layer
from ncrun.metrics.scan import Head, Split, Spread, scan, scan_about
from ncrun.metrics.scatter import ClassMeans, Held, add_by_class, between_directions, class_means, deviations
from ncrun.objective import Objective
from ncrun.theory import Prediction

# Levels whose columns have always had another order in records than in METRICS.
BY_ITSELF = ("nc1", "nc1_rank", "nc1_trace", "cdnv", "dnc2", "dnc3", "etf_h", "rank")
UNSEEN = "needs the features themselves, which are not stored"
FIRST = {"relu": BY_ITSELF, "tap": BY_ITSELF, "test": ("test_accuracy",)}


def training_metrics(
    features: Tensor,
    labels: Tensor,
    head: Head,
    objective: Objective,
    target: Prediction,
    baseline: Prediction,
    parameters: Iterable[Tensor] = (),
) -> tuple[Metrics, ClassMeans]:
    """Every metric of the training split, and its class means at the input of the (last) linear head.

    features: (N, d). labels: (N,). target: the prediction; baseline: the prediction for equal counts. parameters: all
    decayed parameters, read only with decay_mode "parameters". Raises FloatingPointError if the loss or a metric is not
    finite, ValueError if a class has no sample.
    """
    inputs, before = layer_inputs(features, head) if head.relu else ([features], [None])
    top = top_layer(head) if head.relu else head
    split = scan(inputs[-1], labels, top, data_term=objective.data_sum)
    feature_norm_sq = float(features.double().square().sum()) if head.relu else split.feature_norm_sq
    penalty = float(objective.penalty(head.weights, head.bias, parameters, feature_norm_sq))
    layers = _layers_of(inputs[-1], labels, head, top, split, target, baseline, penalty)
    loss = layers[0].loss
    if loss is None or not math.isfinite(loss):
        raise FloatingPointError(f"the loss is {loss}")
    row = values_at("run", layers[0])
    if head.relu:
        grams = target.input_grams or (None,) * len(inputs)
        for number, (points, raw, weight, gram) in enumerate(zip(inputs, before, head.weights, grams, strict=True), 1):
            below = None if raw is None else class_means(raw, labels, len(head.bias))
            layer = layer_of(points, labels, len(head.bias), features.dtype, weight, below, gram)
            row = _inserted(row, "balance", values_at("relu", layer, f"head.{number}."))
    else:
        row = _with_head_layers(row, layers)
    return row, split.means


def collected_metrics(
    split: Split,
    head: Head,
    objective: Objective,
    target: Prediction,
    baseline: Prediction,
    parameters: Iterable[Tensor] = (),
) -> tuple[Metrics, dict[str, str]]:
    """Every metric of a linear head from sums that were collected batch by batch, and for each null column whose sum
    was not collected the reason. parameters, FloatingPointError: as for `training_metrics`."""
    penalty = float(objective.penalty(head.weights, head.bias, parameters, split.feature_norm_sq))
    layers = _layers_of(missing(UNSEEN), missing(UNSEEN), head, head, split, target, baseline, penalty)
    absent: dict[str, str] = {}
    row = _with_head_layers(values_at("run", layers[0], absent=absent), layers, absent)
    return row, absent


def _with_head_layers(row: Metrics, layers: list[Measured], absent: dict[str, str] | None = None) -> Metrics:
    known = row if absent is None else {}  # of the first layer, which the top level is
    for m, measured in enumerate(layers):
        place = "nc1_rank_predicted" if m else "nc1"
        values = values_at("head", measured, f"head.{m + 1}.", absent, {} if m else known)
        row = _inserted(row, place, values)
    return row


def _layers_of(
    features: Tensor,
    labels: Tensor,
    head: Head,
    top: Head,
    split: Split,
    target: Prediction,
    baseline: Prediction,
    penalty: float,
) -> list[Measured]:
    """For the linear head `top` (in a ReLU head the last layer): W_1..W_M, then W_2..W_M, and so on."""
    layers, means = [], split.means
    for m, product in enumerate(top.suffixes()):
        layers.append(
            Measured(
                inputs=features,
                labels=labels,
                means=means,
                directions=split.directions[m],
                spread=split.spread[m],
                precision=split.precision,
                through=tuple(top.weights[:m]),
                reader=top.weights[m],
                weight=product,
                layer=m,
                bias=top.bias,
                head=head,
                target=target,
                baseline=baseline,
                scan=split,
                about_train=split,
                penalty=penalty,
            )
        )
        means = means.mapped(top.weights[m])
    return layers


def transfer_metrics(
    features: Tensor, labels: Tensor, head: Head, train_means: ClassMeans, target: Prediction
) -> Metrics:
    """The metrics of a test split, against the prediction from the training counts. train_means: the class means that
    `training_metrics` returned. Raises as it does."""
    # On the test split only the features are measured; in a ReLU head, the last layer's input.
    whole = head
    if head.relu:
        for weight in head.weights[:-1]:
            features = (features.to(weight.dtype) @ weight.T).relu()
        head = top_layer(head)
    product = Head([head.suffixes()[0]], head.bias)
    own, about_train = scan_about(Held(features, labels), product, (None, train_means))
    return values_at("test", _transferred(features, labels, own, about_train, product, whole, target))


def collected_transfer(
    own: Split, about_train: Split, head: Head, target: Prediction
) -> tuple[Metrics, dict[str, str]]:
    """The metrics of a test split on a linear head, from sums about its own class means and about the training set's;
    and the reasons for null columns, as for `collected_metrics`."""
    absent: dict[str, str] = {}
    product = Head([head.suffixes()[0]], head.bias)
    measured = _transferred(missing(UNSEEN), missing(UNSEEN), own, about_train, product, head, target)
    return values_at("test", measured, absent=absent), absent


def _transferred(
    features: Tensor,
    labels: Tensor,
    own: Split,
    about_train: Split,
    product: Head,
    whole: Head,
    target: Prediction,
) -> Measured:
    return Measured(
        inputs=features,
        labels=labels,
        means=own.means,
        directions=own.directions[0],
        spread=own.spread[0],
        precision=own.precision,
        weight=product.weights[0],
        layer=0,
        bias=product.bias,
        head=whole,
        target=target,
        scan=own,
        about_train=about_train,
    )


def tap_metrics(
    points: Tensor, labels: Tensor, num_classes: int, precision: torch.dtype, reader: Tensor | None
) -> Metrics:
    """The metrics of a tapped layer's (N, d) outputs. reader: the weights that take them as their input, or None."""
    return values_at("tap", layer_of(points, labels, num_classes, precision, reader))


def layer_of(
    points: Tensor,
    labels: Tensor,
    num_classes: int,
    precision: torch.dtype,
    reader: Tensor | None,
    below: ClassMeans | None = None,
    predicted: Array | None = None,
) -> Layer:
    """One pass over (N, d) points for the metrics of a single layer. Raises ValueError if a class has no sample."""
    means = class_means(points, labels, num_classes)
    directions = between_directions(means, precision)
    axes, effective = directions.pulled_back(), 0.0
    within, trace = (torch.zeros(num_classes, dtype=torch.float64, device=points.device) for _ in range(2))
    for y, deviation in deviations(points, labels, means.means):
        squares = (deviation @ axes).square_()
        add_by_class(within, y, squares.sum(dim=1))
        effective += float(squares[:, : directions.effective].sum())
        add_by_class(trace, y, torch.linalg.vector_norm(deviation, dim=1).square())
    return Layer(
        inputs=points,
        labels=labels,
        means=means,
        directions=directions,
        spread=Spread(float(within.sum()), effective, float(trace.sum()), within, trace),
        precision=precision,
        reader=reader,
        below=below,
        predicted=predicted,
    )


def values_at(
    level: str, measured: Any, prefix: str = "", absent: dict[str, str] | None = None, known: Mapping[str, Value] = {}
) -> Metrics:
    """Every metric of a level. measured: the argument of the metrics. prefix: of the columns' names. absent: is filled
    with the reasons, by column, of metrics that are null because a sum was not collected. known: metrics by key that
    were computed from the same `measured` at another level. Raises FloatingPointError with the name of a metric that is
    not finite: what is not determined is null, never NaN."""
    first = FIRST.get(level, ())
    found: Metrics = {}
    for metric in sorted(at_level(level), key=lambda each: first.index(each.key) if each.key in first else len(first)):
        if not metric.applies(measured):
            continue
        own_name = level != "test" or tuple(metric.levels) == ("test",)
        name = prefix + metric.key if own_name else f"test.{metric.key}"
        try:
            value = known[metric.key] if metric.key in known else metric.of(measured)
        except NotCollected as error:
            if absent is None:
                raise
            absent[name] = str(error)
            value = None
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, float) and not math.isfinite(each):
                raise FloatingPointError(f"{name} is {each}")
        found[name] = value
    return found


def _inserted(row: Metrics, before: str, more: Metrics) -> Metrics:
    """The row with more columns inserted before one of its own, the place that records have always used."""
    keys = list(row)
    place = keys.index(before)
    return {key: row[key] for key in keys[:place]} | more | {key: row[key] for key in keys[place:]}
