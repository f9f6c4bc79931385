"""Collapse metrics: pure functions of features, labels, the head's weights and the predicted geometry."""

from ncrun.metrics.collapse import (
    Head,
    Metrics,
    collapse_metrics,
    gap_metrics,
    head_balance,
    scan,
    transfer_metrics,
)
from ncrun.metrics.layers import layer_metrics
from ncrun.metrics.relu_head import layer_inputs, relu_head_metrics, top_layer

__all__ = [
    "Head",
    "Metrics",
    "collapse_metrics",
    "gap_metrics",
    "head_balance",
    "layer_inputs",
    "layer_metrics",
    "relu_head_metrics",
    "scan",
    "top_layer",
    "transfer_metrics",
]
