"""Everything that is logged about one moment of training, from one evaluation-mode forward over each split."""

from typing import Any

import torch
from torch import Tensor

from ncrun.data.load import RunData
from ncrun.measurement import training_metrics
from ncrun.metrics import layer_inputs, top_layer, transfer_metrics
from ncrun.metrics.scatter import between_directions, class_means
from ncrun.models import FreeFeatures, Network
from ncrun.objective import Objective
from ncrun.theory import Geometry, predict

FORWARD_ROWS = 2048


@torch.no_grad()
def features_of(network: Network | FreeFeatures, images: Tensor) -> Tensor:
    """(N, d) features of (N, C, H, W) images, in evaluation mode. Raises FloatingPointError if one is not finite."""
    network.eval()
    features = torch.cat([network.features(part) for part in torch.split(images, FORWARD_ROWS)])
    if not bool(torch.isfinite(features).all()):
        raise FloatingPointError("the features are not finite")
    return features


class Evaluator:
    """Measures a network on a run's data against a prediction and its balanced baseline."""

    def __init__(self, data: RunData, objective: Objective, target: Geometry) -> None:
        self.data = data
        self.objective = objective
        self.target = target
        self.baseline = predict(target.setting.balanced())

    def scaled(self, factor: float) -> "Evaluator":
        """The same for all decays times a factor."""
        return Evaluator(self.data, self.objective.scaled(factor), predict(self.target.setting.scaled(factor)))

    def __call__(self, network: Network | FreeFeatures) -> dict[str, Any]:
        """One row of metrics.jsonl, without epoch, step and seconds. Raises FloatingPointError if training diverged."""
        data = self.data
        features = features_of(network, data.train_images)
        head = network.head.in_float64()
        with torch.no_grad():
            parameters = (parameter.double() for parameter in network.parameters())  # read only where all are decayed
            row, means = training_metrics(
                features, data.train_labels, head, self.objective, self.target, self.baseline, parameters
            )
            if data.test_images is not None and data.test_labels is not None:
                test_features = features_of(network, data.test_images)
                row |= transfer_metrics(test_features, data.test_labels, head, means, self.target)
            else:
                row["test_accuracy"] = None
        if isinstance(network, FreeFeatures):
            row["stationarity"] = stationarity(network, self.objective, data.train_labels)
        return row

    @torch.no_grad()
    def geometry(self, network: Network | FreeFeatures) -> dict[str, list[list[float]]]:
        """The measured (K, K) matrices that stand beside theory.json's: W W^T, the class means' Gram matrix, W Hbar.

        Means are centred in settings with a bias, as for nc2_h.
        """
        features, head = features_of(network, self.data.train_images), network.head.in_float64()
        inputs = layer_inputs(features, head)[0][-1] if head.relu else features
        weight = (top_layer(head) if head.relu else head).suffixes()[0]
        means = class_means(inputs, self.data.train_labels, len(head.bias))
        rank = between_directions(means, features.dtype).rank
        points = means.gram_input(self.target.setting.bias, rank)
        matrices = {"weight_gram": weight @ weight.T, "feature_gram": points @ points.T, "logits": weight @ points.T}
        return {name: matrix.tolist() for name, matrix in matrices.items()}


def stationarity(network: FreeFeatures, objective: Objective, labels: Tensor) -> float | None:
    """Half the squared norm of the gradient in units in which every decay is 1: about what is still to gain nearby.

    In those units the decay terms have the Hessian I. Entries that only their bound keeps from moving do not count.
    None if a decay is zero.
    """
    if objective.feature_decay == 0 or 0 in objective.weight_decays:
        return None
    twin = network.member(0).double()
    features, logits = twin(labels)  # only their number counts
    weights = list(twin.head.weights)
    objective.on_batch(logits, labels, features, weights, ()).backward()  # type: ignore[no-untyped-call]
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
        total += float(twin.head.bias.grad.square().sum())
    return total / 2
