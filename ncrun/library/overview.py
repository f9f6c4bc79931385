"""`ncrun.runs`: every run below a folder, a row each."""

import warnings
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING

from ncrun.records.glance import Overview
from ncrun.records.groups import seal_warning
from ncrun.records.listing import FACTS, facts, keys_shown
from ncrun.records.table import column_of

if TYPE_CHECKING:
    import pandas as pd

# Settings that are always told; beside them those that differ between the runs.
SETTINGS = ("dataset.name", "model.name", "loss", "head.depth", "decay.weight", "decay.feature", "seed")


def runs(root: str | Path = "runs") -> "pd.DataFrame":
    """Every run in a folder, in the folders below it and in archives, one row each, as `ncrun runs` lists them; the
    index is what `ncrun.load` takes.

    Columns: state, the key settings and those in which the runs differ, where a run is (host, job of Slurm, process),
    the epoch of the last row and what it holds, gap among it, distance to the prediction (the largest of nc2_w, nc2_h,
    nc3) and to the balanced one, the claim, verdict and summary. A run whose files cannot be read has state "damaged",
    one that was killed "interrupted", or "not begun" if its first files were not written; summary then says what is
    wrong. Numbers that a run does not have are missing.

    Warns of files that were changed since their run was finished.
    Raises UserError if there is no such folder or archive.
    """
    import pandas as pd

    found = Overview(sealed=True).look([Path(root).expanduser()])
    if warning := seal_warning(found):
        warnings.warn(warning, stacklevel=2)
    keys = list(dict.fromkeys([*SETTINGS, *keys_shown(found)]))
    rows = []
    for run in found:
        given = {column_of(key): copy(run.settings.get(key)) for key in keys}  # runs share what is equal in them
        rows.append({**facts(run), **given})
    columns = ["run", "state", *map(column_of, keys), *(key for key in FACTS if key not in ("run", "state"))]
    return pd.DataFrame(rows, columns=columns).set_index("run").sort_index()
