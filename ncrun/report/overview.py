"""The table of all runs of a report."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ncrun.metrics import words_of
from ncrun.records.groups import differing_keys, settings_of, words
from ncrun.records.read import Record
from ncrun.records.table import COLUMNS, DERIVED, column_of, last_row
from ncrun.report.gathered import Gathered
from ncrun.report.packed import rounded, shown

# More settings than these no screen shows; they are all with the run itself.
MOST_SETTINGS = 8
DERIVED_WORDS = {
    "distance": "the largest of nc2_w, nc2_h and nc3",
    "balanced_distance": "the same to the prediction for equal class counts",
    "fitted_epoch": "the first measured epoch without a training error",
    "wall_seconds": "seconds of training and measuring",
}


def names_of(paths: Sequence[Path]) -> list[str]:
    """Of runs on the page: their paths below the folder that they have in common."""
    absolute = [Path(os.path.abspath(path)) for path in paths]
    common = os.path.commonpath([path.parent for path in absolute]) if absolute else ""
    return [shown(path.relative_to(common)) for path in absolute]


def overview_of(gathered: Gathered) -> dict[str, Any]:
    """columns: key, words, and whether it is a setting. rows: of each run that can be shown its name, state, values (a
    number, a word or null, by the order of the columns) and what it says of itself; `unread` likewise."""
    records = gathered.records
    settings = settings_shown(records)
    finals = [(record, last_row(record)) for record in records]
    values = [[_value(record, row, column) for column in COLUMNS] for record, row in finals]
    kept = [n for n in range(len(COLUMNS)) if any(row[n] is not None for row in values)]
    columns = [{"key": column_of(key), "words": f"configuration: {key}", "setting": True} for key in settings]
    columns += [{"key": "claim", "words": "grade of the prediction", "setting": True}]
    columns += [{"key": "epoch", "words": words_of("epoch"), "setting": False}]
    columns += [{"key": COLUMNS[n], "words": _words(COLUMNS[n]), "setting": False} for n in kept]
    names = names_of([record.path for record in records] + list(gathered.unread))
    rows = []
    for name, (record, last), found in zip(names, finals, values, strict=False):
        given = settings_of(record)
        rows.append(
            {
                "name": name,
                "state": record.manifest["state"],
                "said": shown(record.manifest.get("summary") or record.manifest.get("reason") or ""),
                "values": [
                    *(_setting(given.get(key)) for key in settings),
                    record.theory["claim"],
                    last.get("epoch"),
                    *(found[n] for n in kept),
                ],
            }
        )
    unread = [
        {"name": name, "said": shown(said)}
        for name, said in zip(names[len(records) :], gathered.unread.values(), strict=True)
    ]
    return {"columns": columns, "rows": rows, "unread": unread}


def settings_shown(records: Sequence[Record]) -> list[str]:
    """The configuration keys that tell most of the runs, and the seed where it differs."""
    keys = [key for key in differing_keys(records) if key not in ("experiment", "extend")][:MOST_SETTINGS]
    several = len({record.config["seed"] for record in records}) > 1
    return [*keys, "seed"] if several else keys


def _value(record: Record, row: dict[str, Any], column: str) -> Any:
    return rounded(DERIVED[column](record, row) if column in DERIVED else row.get(column))


def _words(column: str) -> str:
    return DERIVED_WORDS.get(column) or words_of(column)


def _setting(value: Any) -> Any:
    """A number as such, so that it is sorted as one."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    return shown(words(value))
