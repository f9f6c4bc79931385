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

__all__ = ["Head", "Metrics", "collapse_metrics", "gap_metrics", "head_balance", "scan", "transfer_metrics"]
