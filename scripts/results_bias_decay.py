"""The section of results/README.md on a bias that decays."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from results_numbers import NONE, Runs, by_setting, last, over, percent, setting, table, value_of

from ncrun.figures.bias_decay import mean_cosine
from ncrun.metrics.distance import shape_distance
from ncrun.records.read import Record
from ncrun.theory import predict

NETWORKS = "beyond/bias-decay-network"
SCALES = ("cpu", "real")


def to_undecayed(record: Record) -> float | None:
    """NC2 of the classifier against the prediction of a bias without decay."""
    assert record.measured is not None
    undecayed = predict(replace(record.problem, bias_decay=0.0))
    return shape_distance(np.array(record.measured["weight_gram"]), undecayed.layers[0].weight_gram)


def measured_cosine(record: Record) -> float:
    assert record.measured is not None
    return mean_cosine(np.array(record.measured["weight_gram"]))


def _cosine(value: float | None) -> str:
    return NONE if value is None else f"{value:.4f}"


def _row(group: Sequence[Record]) -> list[str]:
    return [
        str(value_of(group[0], "dataset.name")),
        f"{group[0].problem.bias_decay:g}",
        _cosine(mean_cosine(np.array(group[0].theory["weight_gram"]))),
        over(group, measured_cosine, _cosine),
        over(group, last("nc2_w")),
        over(group, to_undecayed),
        over(group, last("gap"), percent),
    ]


def bias_decay(runs: Runs) -> str:
    free = runs.of("beyond/bias-decay", "paper")
    networks = {
        scale: sorted(runs.of(NETWORKS, scale), key=lambda record: record.problem.bias_decay) for scale in SCALES
    }
    trained = [record for found in networks.values() for record in found]
    settings = "\n".join(f"- {scale}: {setting(found)}" for scale, found in networks.items())
    head = ["data", "decay.bias", "mean cosine predicted", "measured", "W W^T to the prediction"]
    rows = [_row(group) for group in by_setting(trained)]
    return f"""## beyond/bias-decay, bias-decay-network

*Prediction* (docs/proofs.md): with the squared loss and equal counts, the optimum is a simplex ETF while the decay of the bias is small. With a larger decay it turns into
the orthogonal frame of a head without a bias.

*Runs*: free features, {setting(free)}. An MLP, one layer:

{settings}

{table([*head, "to that of an undecayed bias", "above the optimum"], rows)}

*It held*: all {len(free)} runs of free features end within {over(free, last("nc2_w"))} of it, and all networks within {over(trained, last("nc2_w"))}.

![beyond/bias-decay](beyond/bias-decay-paper.png)
![beyond/bias-decay-network at scale cpu](beyond/bias-decay-network-cpu.png)
![beyond/bias-decay-network at scale real](beyond/bias-decay-network-real.png)
"""
