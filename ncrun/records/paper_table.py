"""The table of a paper's experiments beside its figures, as .csv, .md and .tex. Earlier rows of other experiments
stay."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncrun.records.files import write_text
from ncrun.records.groups import differing_keys, split
from ncrun.records.read import Record
from ncrun.records.table import COLUMNS, SEEDS, STD, SUFFIXES, WRITERS, final_table, settings_in

if TYPE_CHECKING:
    import pandas as pd

NAMED_BY = ("experiment", "scale")


def write_tables(records: Sequence[Record], path: Path) -> list[Path]:
    """path: without a suffix. Returns the written files.

    A row is named by its experiment, its scale if there are several, and the keys that differ within the experiment.
    Rows of other experiments in an existing .csv are kept.
    """
    within = {key for members in split(records, NAMED_BY).values() for key in differing_keys(members)}
    keys = [*NAMED_BY, *(key for key in differing_keys(records) if key in within and key not in NAMED_BY)]
    frame = final_table(records, named_by=keys)
    frame = _with_earlier(frame, path.with_name(f"{path.name}.csv"))
    path.parent.mkdir(parents=True, exist_ok=True)
    written = []
    for suffix, form in SUFFIXES.items():
        written.append(path.with_name(path.name + suffix))
        # The scale is part of the file's name, because readers of the numbers must know it.
        shown = frame if form == "csv" or frame["scale"].nunique() > 1 else frame.drop(columns="scale")
        write_text(written[-1], WRITERS[form](shown))
    return written


def _with_earlier(frame: "pd.DataFrame", file: Path) -> "pd.DataFrame":
    """Merged with an earlier table's rows of other experiments, in the order of the experiments."""
    import pandas as pd

    header, earlier = _earlier(file)
    written = set(frame["experiment"])
    rows = [*frame.to_dict("records"), *(row for row in earlier if row["experiment"] not in written)]
    rows.sort(key=lambda row: str(row["experiment"]))  # and each one's rows unchanged
    kept = [key for key in header if any(row.get(key) is not None for row in rows)]
    settings = dict.fromkeys([*settings_in(frame), *kept[: kept.index(SEEDS) if kept else 0]])
    numbers = sorted({*frame, *kept} - {*settings, SEEDS}, key=_place)
    columns = [*settings, SEEDS, *numbers]
    return pd.DataFrame([[row.get(key) for key in columns] for row in rows], columns=columns, dtype=object)


def _place(column: str) -> tuple[int, bool]:
    """Columns of numbers: each is followed by its standard deviation."""
    key = column.removesuffix(STD)
    return (COLUMNS.index(key) if key in COLUMNS else len(COLUMNS)), key != column


def _earlier(file: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """Columns and rows of an earlier table; none if there is no such table."""
    if not file.is_file():
        return [], []
    with file.open(encoding="utf-8", errors="replace", newline="") as opened:
        header, *lines = [*csv.reader(opened)] or [[]]
    if not {*NAMED_BY, SEEDS} <= set(header):
        return [], []
    named = header.index(SEEDS)
    rows = []
    for line in lines:
        texts = zip(header, line, strict=False)
        rows.append({key: _value(text, is_number=place >= named) for place, (key, text) in enumerate(texts)})
    return header, [row for row in rows if row.get(SEEDS) is not None]


def _value(text: str, is_number: bool) -> Any:
    if not text:
        return None
    if not is_number:
        return text
    try:
        return float(text) if not text.isdecimal() else int(text)
    except ValueError:
        return None
