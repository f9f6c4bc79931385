"""The table of all runs of a report."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ncrun.errors import printable
from ncrun.metrics import words_of
from ncrun.records.glance import Glance
from ncrun.records.groups import words
from ncrun.records.listing import FACTS, keys_shown
from ncrun.records.table import column_of
from ncrun.report.gathered import Shown
from ncrun.report.packed import rounded

# A screen shows at most this many keys; the run's own part has all of them.
MOST_SETTINGS = 8
# They have their own column, or are in the run's own part.
ELSEWHERE = ("run", "state", "summary", "started", "pid")
FACT_WORDS = {
    "host": "host where it runs or ran last",
    "slurm": "Slurm job in which it runs or ran last",
    "epochs": "number of epochs to train",
    "seconds": "time of training and measuring",
    "seconds_left": "remaining time at its speed so far",
    "distance": "distance to the prediction: the largest of nc2_w, nc2_h and nc3",
    "balanced_distance": "the same for the balanced prediction (equal class counts)",
    "claim": "grade of its prediction",
    "verdict": "how it ended",
}
TEXTS = ("host", "slurm", "claim", "verdict")


def names_of(paths: Sequence[Path]) -> list[str]:
    """Names of runs on the page: their paths below their common folder."""
    absolute = [Path(os.path.abspath(path)) for path in paths]
    common = os.path.commonpath([path.parent for path in absolute]) if absolute else ""
    return [printable(str(path.relative_to(common))) for path in absolute]


def overview_of(runs: Sequence[Shown]) -> dict[str, Any]:
    """columns: key, words, and whether it is text. rows: for each readable run its name, state, summary, and values (a
    number, a word or null) in the order of the columns. unread: for each other run its name, state and the reason."""
    glances = [run.glance for run in runs if run.record is not None]
    settings = keys_shown(glances)
    settings = [*settings[:MOST_SETTINGS], *(["seed"] if "seed" in settings[MOST_SETTINGS:] else [])]
    facts = [key for key in FACTS if key not in ELSEWHERE and any(FACTS[key](each) is not None for each in glances)]
    columns = [{"key": column_of(key), "words": f"configuration: {key}", "text": True} for key in settings]
    columns += [{"key": key, "words": FACT_WORDS.get(key) or words_of(key), "text": key in TEXTS} for key in facts]
    rows: list[dict[str, Any]] = []
    unread: list[dict[str, Any]] = []
    for name, run in zip(names_of([run.glance.path for run in runs]), runs, strict=True):
        glance = run.glance
        row: dict[str, Any] = {"name": name, "state": glance.state, "said": printable(glance.words)}
        if run.record is None:
            unread.append(row)
        else:
            row["values"] = [*(_setting(glance, key) for key in settings), *(_fact(glance, key) for key in facts)]
            rows.append(row)
    return {"columns": columns, "rows": rows, "unread": unread}


def _fact(glance: Glance, key: str) -> Any:
    value = rounded(FACTS[key](glance))
    return printable(value) if isinstance(value, str) else value


def _setting(glance: Glance, key: str) -> Any:
    """Numbers as numbers, so that they are sorted as such."""
    value = glance.settings.get(key)
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    return printable(words(value))
