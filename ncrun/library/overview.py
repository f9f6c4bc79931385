"""`ncrun.runs`: every run below a folder, a row each."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncrun.errors import UserError
from ncrun.records.groups import differing_keys, seal_warning, settings_of
from ncrun.records.places import is_archive, runs_below
from ncrun.records.read import Record, load_record
from ncrun.records.table import COLUMNS, DERIVED, column_of, last_row

if TYPE_CHECKING:
    import pandas as pd

# Settings that are always told; beside them those that differ between the runs.
SETTINGS = ("dataset.name", "model.name", "loss", "head.depth", "decay.weight", "decay.feature", "seed")


def runs(root: str | Path = "runs") -> "pd.DataFrame":
    """Every run in a folder, in the folders below it and in archives, one row each; the index is what `ncrun.load`
    takes.

    Columns: state, the key settings and those in which the runs differ, the claim, the epoch of the last row and what
    it holds, gap among it, distance to the prediction (the largest of nc2_w, nc2_h, nc3) and to the balanced one, and
    summary. A run that cannot be read has state "damaged", and one that was killed before its first files were written
    "not begun"; summary then says what is wrong. Numbers that a run does not have are missing.

    Warns of files that were changed since their run was finished.
    Raises UserError if there is no such folder or archive.
    """
    import pandas as pd

    root = Path(root).expanduser()
    if not root.is_dir() and not is_archive(root):
        raise UserError(f"{root}: no such folder, nor a .zip archive")
    found: list[Record] = []
    unread: list[dict[str, Any]] = []
    for place in runs_below(root):
        try:
            if place.read("theory.json") is None:
                unread.append({"run": str(place.path), "state": "not begun", "summary": "has no theory.json yet"})
            else:
                found.append(load_record(place))
        except UserError as error:
            unread.append({"run": str(place.path), "state": "damaged", "summary": str(error)})
    if warning := seal_warning(found):
        warnings.warn(warning, stacklevel=2)
    settings = list(dict.fromkeys([*SETTINGS, *differing_keys(found)]))
    rows = [*(_row(record, settings) for record in found), *unread]
    columns = ["run", "state", *map(column_of, settings), "claim", "epoch", *COLUMNS, "summary"]
    return pd.DataFrame(rows, columns=columns).set_index("run").sort_index()


def _row(record: Record, settings: list[str]) -> dict[str, Any]:
    given, last = settings_of(record), last_row(record)
    values = {column: DERIVED[column](record, last) if column in DERIVED else last.get(column) for column in COLUMNS}
    return {
        "run": str(record.path),
        "state": record.manifest["state"],
        **{column_of(key): given.get(key) for key in settings},
        "claim": record.theory["claim"],
        "epoch": last.get("epoch"),
        **values,
        "summary": record.manifest.get("summary") or record.manifest.get("reason"),
    }
