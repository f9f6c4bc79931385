"""The differences of two runs: configuration, code and machine, and last numbers."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ncrun.errors import printable
from ncrun.records.glance import Glance
from ncrun.records.groups import dotted, words
from ncrun.records.listing import facts
from ncrun.records.table import aligned

LONGEST = 60  # characters of a run's line

Pair = tuple[Any, Any]
# By heading, the two values of each key that differs (None: missing).
Differences = Mapping[str, Mapping[str, Pair]]
# Entries of the manifest that may explain different numbers of equal configurations.
SURROUNDINGS = ("code", "versions", "device", "threads", "host", "data_hash", "index_hash", "extend", "module")
# Entries that are in the headings, or repeat the configuration.
NOT_NUMBERS = ("run", "state", "host", "slurm", "pid", "started", "summary")


def differences(first: Glance, second: Glance) -> Differences:
    """Numbers: all single numbers of the last rows by their columns, also equal ones."""
    configuration = _apart(first.settings, second.settings)
    surroundings = _apart(*(_surroundings(run) for run in (first, second)))
    numbers = [{**_told(run), **_scalars(run.row)} for run in (first, second)]
    return {
        "configuration": configuration,
        "surroundings": surroundings,
        "numbers": {
            key: (numbers[0].get(key), numbers[1].get(key)) for key in dict.fromkeys([*numbers[0], *numbers[1]])
        },
    }


def _apart(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Pair]:
    keys = dict.fromkeys([*first, *second])
    return {
        key: (first.get(key), second.get(key))
        for key in keys
        if first.get(key) != second.get(key) or (key in first) != (key in second)
    }


def _surroundings(run: Glance) -> dict[str, Any]:
    return dict(dotted({key: run.manifest[key] for key in SURROUNDINGS if key in run.manifest}))


def _told(run: Glance) -> dict[str, Any]:
    return {key: value for key, value in facts(run).items() if key not in NOT_NUMBERS and value is not None}


def _scalars(row: Mapping[str, Any]) -> dict[str, Any]:
    # head.1 is the whole head, as are the columns without a prefix.
    return {
        key: value for key, value in row.items() if isinstance(value, int | float) and not key.startswith("head.1.")
    }


def as_json(pair: Sequence[Glance], found: Differences) -> str:
    """One document: `runs`, and by heading the two values of each key."""
    return json.dumps({"runs": [facts(run) for run in pair], **found}, indent=1) + "\n"


def as_text(pair: Sequence[Glance], found: Differences) -> str:
    """A block for each heading with entries, the two runs beside each other."""
    rows = [["", *(str(run.path) for run in pair)], ["state", *(run.state for run in pair)]]
    endings = [run.verdict or run.words for run in pair]
    if any(endings):
        rows.append(["", *(f"{each[:LONGEST]}…" if len(each) > LONGEST else each for each in endings)])
    for heading, entries in found.items():
        rows.append(["", "", ""])
        rows.append([heading if entries else f"{heading}: the same", "", ""])
        rows += [[f"  {key}", *map(_shown, values)] for key, values in entries.items()]
    return "".join(
        f"{line}\n" for line in aligned([[printable(cell) for cell in row] for row in rows], range(3), (0, 1, 2))
    )


def _shown(value: Any) -> str:
    return "-" if value is None else words(value)
