"""Each class at the last epoch, measured beside predicted, and the matrices of all classes."""

from typing import Any

import numpy as np

from ncrun.errors import printable
from ncrun.figures import matrices, wording
from ncrun.figures.classes import PER_CLASS, predicted_values, scaled, scaled_title
from ncrun.records.read import Record
from ncrun.report.curves import MATRIX_NUMBERS
from ncrun.report.packed import rounded

# matrices.TITLES in letters.
TITLES = {"weight_gram": "W Wᵀ", "feature_gram": "H̄ᵀ H̄", "logits": "W H̄"}
WORDS = {
    "weight_gram": "Gram matrix of the classifier rows",
    "feature_gram": "Gram matrix of the class means",
    "logits": "logits of the class means",
}
ACCURACIES = {"class.train_accuracy": "accuracy, training", "class.test_accuracy": "accuracy, test"}


def names_of(record: Record) -> list[str]:
    """The user's names of the classes, else their numbers."""
    counts, chosen = record.manifest["class_counts"], record.config.get("classes")
    names = record.manifest.get("class_names")
    if isinstance(names, list) and chosen and max(chosen) < len(names):
        names = [names[k] for k in chosen]
    if not isinstance(names, list) or len(names) != len(counts):
        return [str(k) for k in range(len(counts))]
    return [printable(str(name)) for name in names]


def classes_of(record: Record) -> dict[str, Any]:
    """names, counts, and measures: for each class the measured number and the predicted one (null if there is none). If
    theory fixes shapes only, both are relative to their mean over the classes."""
    found = []
    for column, entry, title in PER_CLASS:
        predicted = scaled(record, predicted_values(record, entry))
        measured = _last(record, column)
        values = None if measured is None else rounded(scaled(record, np.array(measured, dtype=float)))
        found.append(
            {
                "title": scaled_title(record, title),
                "measured": values,
                "predicted": rounded(predicted) if np.isfinite(predicted).any() else None,
            }
        )
    for column, title in ACCURACIES.items():
        if (measured := _last(record, column)) is not None:
            found.append({"title": title, "measured": rounded(measured), "predicted": None})
    lost = [entry["collapsed"] for entry in record.theory["classes"]]
    return {"names": names_of(record), "counts": record.manifest["class_counts"], "measures": found, "lost": lost}


def matrices_of(record: Record, numbers: int) -> dict[str, Any]:
    """Predicted and measured K x K matrices and their difference; if theory fixes shapes only, each is divided by its
    Frobenius norm. shown: the existing ones. words: a note about them, or why there are none.

    numbers: the most entries that they may have.
    """
    K = len(record.manifest["class_counts"])
    known = [name for name in TITLES if record.theory[name] is not None]
    measured = record.measured
    if numbers < MATRIX_NUMBERS * K * K:
        return {"shown": [], "words": f"Not shown in a report of so many runs: each has {K} x {K} numbers."}
    found = []
    for name in known:
        if measured is None:
            predicted, difference, here = np.array(record.theory[name], dtype=float), None, None
        else:
            predicted, here = matrices.both(record, name)
            difference = here - predicted
        found.append(
            {
                "title": TITLES[name],
                "words": WORDS[name],
                "predicted": rounded(predicted),
                "measured": None if here is None else rounded(here),
                "difference": None if difference is None else rounded(difference),
            }
        )
    return {"shown": found, "words": _words(record, bool(known))}


def _words(record: Record, is_predicted: bool) -> str:
    if not is_predicted:
        return "Theory determines no matrix for this problem."
    words = []
    if record.measured is None:
        words.append(
            "These are the predicted ones. Measured ones are written at the end of a run, for up to 200 classes."
        )
    elif record.theory["scale_free"]:
        words.append("Each is divided by its Frobenius norm, because theory fixes shapes only.")
    if wording.centres_means(record):
        words.append("With a bias the class means are centred.")
    return " ".join(words)


def _last(record: Record, column: str) -> list[Any] | None:
    """A list's last row that is not null; None if there is none."""
    if column not in record.metrics:
        return None
    known = record.metrics[column].dropna()
    return None if known.empty else list(known.iloc[-1])
