"""Everything that is logged about one moment of training, from one evaluation-mode forward over each split."""

import math
from typing import Any

import torch
from torch import Tensor

from ncrun.data.load import RunData
from ncrun.metrics import collapse_metrics, gap_metrics, head_balance, scan, transfer_metrics
from ncrun.models import Network
from ncrun.objective import Objective
from ncrun.theory import Geometry, predict

FORWARD_ROWS = 2048


@torch.no_grad()
def features_of(network: Network, images: Tensor) -> Tensor:
    """(N, d) features of (N, C, H, W) images, in evaluation mode. Raises FloatingPointError if one is not finite."""
    network.eval()
    features = torch.cat([network.backbone(part) for part in torch.split(images, FORWARD_ROWS)])
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

    @torch.no_grad()
    def __call__(self, network: Network) -> dict[str, Any]:
        """One row of metrics.jsonl, without epoch, step and seconds. Raises FloatingPointError if training diverged."""
        objective, data = self.objective, self.data
        features = features_of(network, data.train_images)
        head = network.head.in_float64()
        split = scan(features, data.train_labels, head, data_term=objective.data_sum)
        assert split.data_sum is not None
        counts = split.means.counts
        feature_norm_sq = float(counts @ split.means.means.square().sum(dim=1) + split.trace[:, 0].sum())
        parameters = (parameter.double() for parameter in network.parameters())  # read only where all are decayed
        data_term = split.data_sum / objective.num_samples
        loss = data_term + float(objective.penalty(head.weights, parameters, feature_norm_sq))
        if not math.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss}")
        row: dict[str, Any] = {"loss": loss, "data_term": data_term}
        row |= gap_metrics(split, head, self.target, loss)
        row |= collapse_metrics(split, head, self.target, self.baseline)
        row["balance"] = head_balance(head, objective.weight_decays)
        test_features = features_of(network, data.test_images)
        return row | transfer_metrics(test_features, data.test_labels, head, split.means, self.target)
