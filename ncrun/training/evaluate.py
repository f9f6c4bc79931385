"""One row of metrics, from one forward pass over each split in evaluation mode."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ncrun.data.streamed import StreamedData
from ncrun.data.tensors import RunData
from ncrun.metrics.on_targets import target_row, target_transfer
from ncrun.metrics.relu_head import layer_inputs, top_layer
from ncrun.metrics.rows import collected_metrics, collected_transfer, tap_metrics, training_metrics, transfer_metrics
from ncrun.metrics.scan import Head, scan_about
from ncrun.metrics.scatter import ClassMeans, between_directions, class_means, means_of
from ncrun.models.free_gradient import FreeGradient
from ncrun.models.free_model import FreeFeatures
from ncrun.models.network import Network
from ncrun.models.taps import reader_of
from ncrun.objective import Objective
from ncrun.theory import Prediction, predict
from ncrun.training.features import FeaturesInBlocks, features_at, features_of
from ncrun.training.ranks import ALONE, Ranks

WHOLE = 2**62  # bytes: features of images in memory are always held


class NegativeFeatures(Exception):
    """Features are negative, although theory was asked for non-negative ones: its prediction does not hold for them."""


@dataclass(frozen=True)
class Moment:
    """The measured samples themselves, for `look`.

    train, test: functions from samples' numbers, (B,), to their features, (B, d); test is None without a test split.
    head: the head that reads them. means: the training set's class means at the input of the (last) linear head.
    centred: whether the predicted ones are minus their overall mean.
    """

    train: Callable[[Tensor], Tensor]
    test: Callable[[Tensor], Tensor] | None
    head: Head
    means: ClassMeans
    centred: bool


class Evaluator:
    """Measures a network on a run's data, compared with the prediction and its balanced baseline; and each tapped layer
    of its backbone."""

    def __init__(
        self,
        data: RunData | StreamedData,
        objective: Objective,
        target: Prediction,
        taps: Sequence[str] = (),
        ranks: Ranks = ALONE,
    ) -> None:
        """ranks: processes that measure together; then, as with streamed data, only sums over samples are known."""
        self.data, self.ranks = data, ranks
        self.objective = objective
        self.target = target
        self.taps = taps
        self.baseline = target if target.problem.targets else predict(target.problem.balanced())

    def scaled(self, factor: float) -> "Evaluator":
        """The same, with all decays times a factor."""
        return Evaluator(
            self.data, self.objective.scaled(factor), predict(self.target.problem.scaled(factor)), self.taps
        )

    def __call__(
        self, network: Network | FreeFeatures, look: Callable[[Moment], object] | None = None
    ) -> dict[str, Any]:
        """One row of metrics.jsonl, without epoch, step and seconds.

        look: called with the measured samples, not for targets, which have no class means. Raises FloatingPointError if
        training diverged, and NegativeFeatures.
        """
        if self._knows_sums_only:
            return self._by_sums(network, look)
        assert isinstance(self.data, RunData)
        if self.target.problem.targets:
            row = self._on_targets(network, self.data)
        else:
            row = self._on_classes(network, self.data, look)
        if isinstance(network, FreeFeatures):
            row["stationarity"] = stationarity(network, self.objective, self.data.train_labels)
        return row

    def _on_classes(
        self, network: Network | FreeFeatures, data: RunData, look: Callable[[Moment], object] | None
    ) -> dict[str, Any]:
        features, tapped_layers = features_of(network, data.train_images, self.taps)
        self._check_sign(features)
        head = network.head.in_float64()
        with torch.no_grad():
            parameters = (parameter.double() for parameter in network.parameters())  # read only if all are decayed
            row, means = training_metrics(
                features, data.train_labels, head, self.objective, self.target, self.baseline, parameters
            )
            for name, points in tapped_layers.items():
                assert isinstance(network, Network)
                reader = reader_of(network.backbone, name, network.head.weights[0])
                values = tap_metrics(
                    points,
                    data.train_labels,
                    len(head.bias),
                    features.dtype,
                    None if reader is None else reader.double(),
                )
                row |= {f"tap.{name}.{key}": value for key, value in values.items()}
            test_features = None
            if data.test_images is not None and data.test_labels is not None:
                test_features, _ = features_of(network, data.test_images)
                row |= transfer_metrics(test_features, data.test_labels, head, means, self.target)
            else:
                row["test_accuracy"] = None
            if look is not None:
                test = None if test_features is None else _rows_of(test_features)
                look(Moment(_rows_of(features), test, head, means, self.target.problem.centres_means))
        return row

    @property
    def _knows_sums_only(self) -> bool:
        return isinstance(self.data, StreamedData) or self.ranks.number > 1

    def _points(self, network: Network | FreeFeatures, split: str, hold: bool = True) -> FeaturesInBlocks:
        """This rank's share of a split. hold: whether the features are read again."""
        assert isinstance(network, Network)
        data = self.data
        images, labels = (getattr(data, f"{split}_{what}") for what in ("images", "labels"))
        mine = self.ranks.part(slice(0, len(labels)))
        if isinstance(data, StreamedData):
            return FeaturesInBlocks(network, images.part(mine), labels[mine], data.room if hold else 0, self.ranks)
        return FeaturesInBlocks(network, images[mine], labels[mine], WHOLE if hold else 0, self.ranks)

    @torch.no_grad()
    def _by_sums(self, network: Network | FreeFeatures, look: Callable[[Moment], object] | None) -> dict[str, Any]:
        """The row of `_on_classes`, from sums over blocks of features of all ranks instead of all features."""
        head = network.head.in_float64()
        points = self._points(network, "train")
        (split,) = scan_about(points, head, (None,), self.objective.data_sum)
        self._check_sign(torch.tensor(self.ranks.smallest(points.smallest)))
        parameters = (parameter.double() for parameter in network.parameters())
        row, _ = collected_metrics(split, head, self.objective, self.target, self.baseline, parameters)
        whole = Head([head.suffixes()[0]], head.bias)
        own, about_train = scan_about(self._points(network, "test"), whole, (None, split.means))
        if look is not None and self.ranks.is_first:  # which keeps the record
            splits = (self.data.train_images, self.data.test_images)
            train, test = (None if each is None else partial(features_at, network, each) for each in splits)
            assert train is not None
            look(Moment(train, test, head, split.means, self.target.problem.centres_means))
        return row | collected_transfer(own, about_train, head, self.target)[0]

    def _on_targets(self, network: Network | FreeFeatures, data: RunData) -> dict[str, Any]:
        head = network.head.in_float64()
        features, _ = features_of(network, data.train_images)
        self._check_sign(features)
        with torch.no_grad():
            parameters = (parameter.double() for parameter in network.parameters())
            row = target_row(features, data.train_labels, head, self.objective, self.target, parameters)
            if data.test_images is not None and data.test_labels is not None:
                test_features, _ = features_of(network, data.test_images)
                row |= target_transfer(test_features, data.test_labels, head, self.target)
        return row

    def _check_sign(self, features: Tensor) -> None:
        if self.target.problem.feature_sign == "nonnegative" and bool(features.amin() < 0):
            raise NegativeFeatures(
                f"features have become negative (down to {float(features.amin()):.3g}), but the prediction is for"
                " non-negative ones; set model.feature_sign=free, which makes another run with its own prediction"
            )

    @torch.no_grad()
    def measured_matrices(self, network: Network | FreeFeatures) -> dict[str, Any]:
        """The measured (K, K) matrices that correspond to those of theory.json: W W^T, the class means' Gram matrix, W
        Hbar.

        Means are centred as for nc2_h. Also, by layer ("head.1", "tap.relu2"), the singular values of its class means,
        not centred, the largest first. On targets only W W^T.
        """
        if self.target.problem.targets:
            product = network.head.in_float64().suffixes()[0]
            return {"weight_gram": (product @ product.T).tolist()}
        head = network.head.in_float64()
        inputs, by_layer = self._means(network, head)
        by_layer |= {f"head.{m}": means for m, means in enumerate(inputs, start=1)}
        weight = (top_layer(head) if head.relu else head).suffixes()[0]
        means = inputs[-1] if head.relu else inputs[0]
        rank = between_directions(means, network.head.weights[0].dtype).rank
        points = means.gram_input(self.target.problem.centres_means, rank)
        matrices = {"weight_gram": weight @ weight.T, "feature_gram": points @ points.T, "logits": weight @ points.T}
        values = {name: torch.linalg.svdvals(layer.means).tolist() for name, layer in by_layer.items()}
        return {name: matrix.tolist() for name, matrix in matrices.items()} | {"singular_values": values}

    def _means(self, network: Network | FreeFeatures, head: Head) -> tuple[list[ClassMeans], dict[str, ClassMeans]]:
        """Class means at the input of each layer of the head, and by name at tapped layers."""
        data, K = self.data, len(head.bias)
        if self._knows_sums_only:
            tapped: dict[str, ClassMeans] = {}
            inputs = [means_of(self._points(network, "train", hold=False), K)]
        else:
            assert isinstance(data, RunData)
            features, layers = features_of(network, data.train_images, self.taps)
            tapped = {f"tap.{name}": class_means(points, data.train_labels, K) for name, points in layers.items()}
            if head.relu:
                return [class_means(each, data.train_labels, K) for each in layer_inputs(features, head)[0]], tapped
            inputs = [class_means(features, data.train_labels, K)]
        for weight in head.weights[:-1]:
            inputs.append(inputs[-1].mapped(weight))
        return inputs, tapped


def _rows_of(features: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda rows: features[rows.to(features.device)]


def stationarity(network: FreeFeatures, objective: Objective, labels: Tensor) -> float | None:
    """Half the squared norm of the gradient in units in which every decay is 1: about how much the loss can still
    decrease nearby.

    In these units the decay terms have the Hessian I. Entries that are held at their bound do not count. None if a
    decay is zero.
    """
    if objective.feature_decay == 0 or 0 in objective.weight_decays:
        return None
    twin = network.of_run(0).double()
    FreeGradient(twin, [objective], labels)()
    weights = list(twin.head.weights)
    assert objective.feature_decay is not None
    pull = twin.points.grad
    assert pull is not None
    if twin.nonnegative:
        pull = torch.where((twin.points == 0) & (pull > 0), 0.0, pull)
    total = float(pull.square().sum()) / objective.feature_decay
    for decay, weight in zip(objective.weight_decays, weights, strict=True):
        assert weight.grad is not None
        total += float(weight.grad.square().sum()) / decay
    if twin.head.bias is not None and twin.head.bias.grad is not None:
        total += float(twin.head.bias.grad.square().sum()) / (1 + objective.bias_decay)
    return total / 2
