"""Remedies for imbalance: the section of results/README.md, and the table of docs/class_weights.md."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from results_numbers import (
    NONE,
    Runs,
    by_setting,
    last,
    number,
    over,
    percent,
    row_at,
    setting,
    span,
    table,
    to_prediction,
)

from ncrun.losses.options import in_words
from ncrun.records.read import Record

EXPERIMENT = "beyond/imbalance-remedies"
SCALES = ("cpu", "real")
HEAD = (
    "options",
    "margins predicted",
    "measured",
    "farthest from it",
    "above the optimum",
    "test accuracy",
    "four frequent classes",
    "three rarest",
)


def name_of(record: Record) -> str:
    assert record.posed is not None
    return ", ".join(in_words(record.posed)) or "none"


def rows_of(records: Sequence[Record]) -> list[list[str]]:
    """One for each setting, over its seeds. Test accuracies are means over classes."""
    return [_row(group) for group in by_setting(records)]


def _row(group: Sequence[Record]) -> list[str]:
    predicted = np.array([entry["margin"] for entry in group[0].theory["classes"]], dtype=float)
    measured = np.array([row_at(record)["class.margin"] for record in group], dtype=float)
    largest_first = np.argsort(-np.array(group[0].manifest["class_counts"]), kind="stable")
    accuracies = np.array([row_at(record)["class.test_accuracy"] for record in group], dtype=float)[:, largest_first]
    return [
        name_of(group[0]),
        f"{predicted.min():.2f} to {predicted.max():.2f}",
        f"{measured.min():.2f} to {measured.max():.2f}",
        number(float(np.abs(measured - predicted).max())),
        over(group, last("gap"), percent),
        *(span(part.mean(axis=1), _tenths) for part in (accuracies, accuracies[:, :4], accuracies[:, -3:])),
    ]


def _tenths(share: float | None) -> str:
    return NONE if share is None else f"{100 * share:.1f} %"


def ordered(records: Sequence[Record]) -> list[Record]:
    """None, weights, adjustment, smoothing; weights of scikit-learn's before others."""

    def place(record: Record) -> tuple[bool, bool, bool, bool]:
        config = record.config
        own = isinstance(config["class_weights"], list)
        return config["label_smoothing"] > 0, config["logit_adjustment"] > 0, own, config["class_weights"] is not None

    return sorted(records, key=place)


def of_archive(path: Path) -> list[tuple[str, ...]]:
    """The table of docs/class_weights.md."""
    records = Runs.below(path).of(EXPERIMENT, "real")
    return [HEAD, *map(tuple, rows_of(ordered(records)))]


def remedies(runs: Runs) -> str:
    by_scale = {scale: ordered(runs.of(EXPERIMENT, scale)) for scale in SCALES}
    every = [record for records in by_scale.values() for record in records]
    parts = [
        f"At scale {scale}: {setting(records)}\n\n{table(list(HEAD), rows_of(records))}"
        for scale, records in by_scale.items()
    ]
    pictures = [f"![{EXPERIMENT} at scale {scale}]({EXPERIMENT}-{scale}.png)" for scale in SCALES]
    return "\n\n".join(
        [
            f"## {EXPERIMENT}",
            "*Question*: what class weights, logit adjustment and label smoothing do to each class of a long tail, predicted and"
            " measured. How to choose is in [docs/class_weights.md](../docs/class_weights.md).",
            "*Runs*: cross-entropy, one linear layer with bias on features of free sign. The frequent classes are the four largest;"
            " accuracies are means over classes.",
            *parts,
            f"*It held*: the runs end {over(every, to_prediction)} from their own predictions, their losses {over(every, last('gap'), percent)} above the optimum. They are trained by"
            " Adam alone, without L-BFGS.",
            "\n".join(pictures) + "\n",
        ]
    )
