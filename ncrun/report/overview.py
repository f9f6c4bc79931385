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

# More settings than these no screen shows; they are all with the run itself.
MOST_SETTINGS = 8
# Said in a column of their own, or with the run itself.
ELSEWHERE = ("run", "state", "summary", "started", "pid")
FACT_WORDS = {
    "host": "where it runs, or ran last",
    "slurm": "the job of Slurm that it runs in, or ran in last",
    "epochs": "how many it is to train",
    "seconds": "of training and measuring",
    "seconds_left": "at the speed that it had so far",
    "distance": "to the prediction: the largest of nc2_w, nc2_h and nc3",
    "balanced_distance": "the same to the prediction for equal class counts",
    "claim": "how far its prediction is to be trusted",
    "verdict": "what it has arrived at",
}
TEXTS = ("host", "slurm", "claim", "verdict")


def names_of(paths: Sequence[Path]) -> list[str]:
    """Of runs on the page: their paths below the folder that they have in common."""
    absolute = [Path(os.path.abspath(path)) for path in paths]
    common = os.path.commonpath([path.parent for path in absolute]) if absolute else ""
    return [printable(str(path.relative_to(common))) for path in absolute]


def overview_of(runs: Sequence[Shown]) -> dict[str, Any]:
    """columns: key, words, and whether it is text. rows: of each run that can be read its name, state, what it says of
    itself, and values: a number, a word or null, in the order of the columns. unread: of each other one its name, state
    and what is wrong."""
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
    """A number as such, so that it is sorted as one."""
    value = glance.settings.get(key)
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    return printable(words(value))
