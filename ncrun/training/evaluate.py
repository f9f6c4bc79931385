"""Everything that is logged about one moment of training, from one evaluation-mode forward over each split."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ncrun.data.tensors import RunData
from ncrun.metrics.on_targets import target_row, target_transfer
from ncrun.metrics.relu_head import layer_inputs, top_layer
from ncrun.metrics.rows import tap_metrics, training_metrics, transfer_metrics
from ncrun.metrics.scatter import between_directions, class_means
from ncrun.models.free_gradient import FreeGradient
from ncrun.models.free_model import FreeFeatures
from ncrun.models.network import Network
from ncrun.models.taps import reader_of, tapped
from ncrun.objective import Objective
from ncrun.theory import Prediction, predict
from ncrun.training.gradients import tf32

# Activations of more rows leave the cache, and the memory of each would be taken from the system anew.
FORWARD_ROWS = 512


@torch.no_grad()
@tf32(False)
def features_of(
    network: Network | FreeFeatures, images: Tensor, taps: Sequence[str] = ()
) -> tuple[Tensor, dict[str, Tensor]]:
    """(N, d) features of (N, C, H, W) images, and by name the outputs of tapped layers, in evaluation mode and the
    parameters' own precision.

    Raises FloatingPointError if a feature is not finite.
    """
    network.eval()
    whole: dict[str, Tensor] = {}  # by tap, and the features under ""
    finite = torch.ones((), dtype=torch.bool, device=images.device)
    for start in range(0, len(images), FORWARD_ROWS):
        part = slice(start, start + FORWARD_ROWS)
        if isinstance(network, FreeFeatures):
            seen = {"": network.features(images[part])}
        else:
            found, seen = tapped(network.backbone, images[part], taps)
            seen[""] = found
        finite &= torch.isfinite(seen[""]).all()
        for name, points in seen.items():
            if name not in whole:
                whole[name] = points.new_empty(len(images), points.shape[1])
            whole[name][part] = points
    if not bool(finite):
        raise FloatingPointError("the features are not finite")
    return whole.pop(""), whole


class NegativeFeatures(Exception):
    """Features that theory was asked about as never negative, and that are: its answer is no bound for them."""


class Evaluator:
    """Measures a network on a run's data against a prediction and its balanced baseline, and the tapped layers of its
    backbone by themselves."""

    def __init__(self, data: RunData, objective: Objective, target: Prediction, taps: Sequence[str] = ()) -> None:
        self.data = data
        self.objective = objective
        self.target = target
        self.taps = taps
        self.baseline = target if target.problem.targets else predict(target.problem.balanced())

    def scaled(self, factor: float) -> "Evaluator":
        """The same for all decays times a factor."""
        return Evaluator(
            self.data, self.objective.scaled(factor), predict(self.target.problem.scaled(factor)), self.taps
        )

    def __call__(self, network: Network | FreeFeatures) -> dict[str, Any]:
        """One row of metrics.jsonl, without epoch, step and seconds.

        Raises FloatingPointError if training diverged, and NegativeFeatures.
        """
        row = self._on_targets(network) if self.target.problem.targets else self._on_classes(network)
        if isinstance(network, FreeFeatures):
            row["stationarity"] = stationarity(network, self.objective, self.data.train_labels)
        return row

    def _on_classes(self, network: Network | FreeFeatures) -> dict[str, Any]:
        data = self.data
        features, tapped_layers = features_of(network, data.train_images, self.taps)
        self._check_sign(features)
        head = network.head.in_float64()
        with torch.no_grad():
            parameters = (parameter.double() for parameter in network.parameters())  # read only where all are decayed
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
            if data.test_images is not None and data.test_labels is not None:
                test_features, _ = features_of(network, data.test_images)
                row |= transfer_metrics(test_features, data.test_labels, head, means, self.target)
            else:
                row["test_accuracy"] = None
        return row

    def _on_targets(self, network: Network | FreeFeatures) -> dict[str, Any]:
        data, head = self.data, network.head.in_float64()
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
        if self.target.problem.feature_sign == "nonnegative" and bool((features < 0).any()):
            raise NegativeFeatures(
                f"features have become negative (down to {float(features.min()):.3g}), and the prediction is for"
                " nonnegative ones; model.feature_sign=free makes it another run, predicted as what it is"
            )

    @torch.no_grad()
    def measured_matrices(self, network: Network | FreeFeatures) -> dict[str, Any]:
        """The measured (K, K) matrices that stand beside theory.json's: W W^T, the class means' Gram matrix, W Hbar.

        In these, means are centred where they are for nc2_h. And by layer ("head.1", "tap.relu2") the
        singular values of its class means, not centred, the largest first. On targets W W^T alone.
        """
        if self.target.problem.targets:
            product = network.head.in_float64().suffixes()[0]
            return {"weight_gram": (product @ product.T).tolist()}
        features, tapped_layers = features_of(network, self.data.train_images, self.taps)
        head = network.head.in_float64()
        labels, K = self.data.train_labels, len(head.bias)
        by_layer = {f"tap.{name}": class_means(points, labels, K) for name, points in tapped_layers.items()}
        if head.relu:
            inputs = [class_means(points, labels, K) for points in layer_inputs(features, head)[0]]
        else:
            inputs = [class_means(features, labels, K)]
            for weight in head.weights[:-1]:
                inputs.append(inputs[-1].mapped(weight))
        by_layer |= {f"head.{m}": means for m, means in enumerate(inputs, start=1)}
        weight = (top_layer(head) if head.relu else head).suffixes()[0]
        means = inputs[-1] if head.relu else inputs[0]
        rank = between_directions(means, features.dtype).rank
        points = means.gram_input(self.target.problem.centres_means, rank)
        matrices = {"weight_gram": weight @ weight.T, "feature_gram": points @ points.T, "logits": weight @ points.T}
        values = {name: torch.linalg.svdvals(layer.means).tolist() for name, layer in by_layer.items()}
        return {name: matrix.tolist() for name, matrix in matrices.items()} | {"singular_values": values}


def stationarity(network: FreeFeatures, objective: Objective, labels: Tensor) -> float | None:
    """Half the squared norm of the gradient in units in which every decay is 1: about what is still to gain nearby.

    In those units the decay terms have the Hessian I. Entries that only their bound keeps from moving do not count.
    None if a decay is zero.
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
