"""Remedies for imbalance: the section of results/README.md, and the table of docs/class_weights.md."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from results_numbers import Runs, last, number, over, percent, row_at, setting, table

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
    """One for each run. Test accuracies are means over classes."""
    return [_row(record) for record in records]


def _row(record: Record) -> list[str]:
    row, counts = row_at(record), np.array(record.manifest["class_counts"])
    predicted = np.array([entry["margin"] for entry in record.theory["classes"]], dtype=float)
    measured = np.array(row["class.margin"], dtype=float)
    accuracies = np.array(row["class.test_accuracy"], dtype=float)[np.argsort(-counts, kind="stable")]
    return [
        name_of(record),
        f"{predicted.min():.2f} to {predicted.max():.2f}",
        f"{measured.min():.2f} to {measured.max():.2f}",
        number(float(np.abs(measured - predicted).max())),
        percent(last("gap")(record)),
        *(f"{100 * part.mean():.1f} %" for part in (accuracies, accuracies[:4], accuracies[-3:])),
    ]


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
            f"*It held*: every run ends at its own prediction, its loss {over(every, last('gap'), percent)} above the optimum.",
            "\n".join(pictures) + "\n",
        ]
    )
