"""`ncrun.runs`: every run below a folder, one row each."""

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

# Keys that are always shown, besides those in which the runs differ.
SETTINGS = ("dataset.name", "model.name", "loss", "head.depth", "decay.weight", "decay.feature", "seed")


def runs(root: str | Path = "runs") -> "pd.DataFrame":
    """Every run in a folder, in the folders below it and in archives, one row each, as `ncrun runs` lists them; the
    index is what `ncrun.load` takes.

    Columns: state, the main configuration keys and those in which the runs differ, the place of a run (host, Slurm job,
    process), the last row with its epoch, gap and other numbers, distance to the prediction (the largest of nc2_w,
    nc2_h, nc3) and to the balanced one, claim, verdict and summary. A run whose files cannot be read has state
    "damaged", a killed one "interrupted", or "not begun" if its first files were not written; then summary holds the
    reason. Numbers that a run does not have are missing.

    Warns about files that changed after their run finished.
    Raises UserError if there is no such folder or archive.
    """
    import pandas as pd

    found = Overview(sealed=True).look([Path(root).expanduser()])
    if warning := seal_warning(found):
        warnings.warn(warning, stacklevel=2)
    keys = list(dict.fromkeys([*SETTINGS, *keys_shown(found)]))
    rows = []
    for run in found:
        given = {column_of(key): copy(run.settings.get(key)) for key in keys}  # runs share equal parts
        rows.append({**facts(run), **given})
    columns = ["run", "state", *map(column_of, keys), *(key for key in FACTS if key not in ("run", "state"))]
    return pd.DataFrame(rows, columns=columns).set_index("run").sort_index()
