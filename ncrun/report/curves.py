"""The curves of a run on the page: its columns, its panels, and the prediction for a column."""

import math
from typing import Any

import matplotlib as mpl
from matplotlib import style
from matplotlib.colors import to_hex

from ncrun.figures import changes, looks, panels, wording
from ncrun.figures.ledger import PARTS
from ncrun.figures.plot_lines import TIMES
from ncrun.figures.plot_predictions import prediction_of
from ncrun.figures.run_panels import Level, Line, Panel, abscissa, is_path, panels_of
from ncrun.records import whole
from ncrun.records.read import Record
from ncrun.report.packed import FEWEST_ROWS, MOST_ROWS, rounded, thinned

# The number of K x K matrices: predicted, measured and their difference, for three matrices.
MATRIX_NUMBERS = 9
NO_CURVES: dict[str, Any] = {
    "columns": {},
    "panels": [],
    "undefined": [],
    "predicted": {},
    "drops": [],
    "finishes": [],
    "rows": [0, 0],
    "x": "epoch",
    "xlabel": "",
}


def curves_of(record: Record, numbers: int) -> dict[str, Any]:
    """numbers: how many the run may have in total. If they do not suffice, fewer epochs are shown, and if these were
    too few, only the last value of each class. The page says so.

    columns: by name, a value for each row, or a list of them for each class. x: the column on the abscissa. drops: its
    values where the learning rate falls; finishes: where L-BFGS takes over. panels: as in figures.run_panels;
    undefined: the titles of panels without a line. predicted: by column, a number or one for each class.
    """
    frame = record.metrics
    if frame.empty:
        return NO_CURVES
    K = len(record.manifest["class_counts"])
    single, lists = _kinds(record)
    with_classes = numbers // (len(single) + K * len(lists))
    over_time = with_classes >= FEWEST_ROWS or len(frame) <= with_classes
    most = with_classes if over_time else numbers // len(single)
    kept = thinned(frame, min(MOST_ROWS, max(FEWEST_ROWS, most)))
    columns: dict[str, Any] = {name: [rounded(value) for value in kept[name].tolist()] for name in single}
    if over_time:
        columns |= {name: _by_class(kept[name].tolist(), K) for name in lists}
    every = [panel for panel in (*panels_of(record), *_ledger(record)) if _is_there(panel, columns)]
    xlabel = wording.time_word([record]) if not is_path(record) else TIMES["factor"]
    return {
        "columns": columns,
        "x": abscissa(record),
        "xlabel": xlabel,
        "drops": changes.marked([record]),
        "finishes": changes.finishes([record]),
        "rows": [len(kept), len(frame)],
        "without_classes": not over_time,
        "panels": [_panel(panel) for panel in every if panel.lines],
        "undefined": [panel.title for panel in every if not panel.lines],
        "predicted": {name: value for name in columns if (value := _predicted(record, name, K)) is not None},
    }


def numbers_of(record: Record) -> int:
    """How many numbers its curves and matrices have in full."""
    K = len(record.manifest["class_counts"])
    single, lists = _kinds(record)
    return min(len(record.metrics), MOST_ROWS) * (len(single) + K * len(lists)) + 2 * MATRIX_NUMBERS * K * K


def _kinds(record: Record) -> tuple[list[str], list[str]]:
    """The columns with a number, and those with one for each class. The page shows no other lists."""
    lists = [name for name in record.metrics if name.startswith(whole.OF_CLASSES)]
    return [name for name in record.metrics if not name.startswith(whole.LISTS)], lists


def palette() -> list[str]:
    """The colours of lines, in order."""
    with style.context(panels.STYLE):
        return [to_hex(colour) for colour in mpl.rcParams["axes.prop_cycle"].by_key()["color"]]


def class_colours(record: Record) -> list[str]:
    with style.context(panels.STYLE):
        return [to_hex(look["color"]) for look in looks.class_looks(record.manifest["class_counts"])]


def _by_class(rows: list[Any], K: int) -> list[list[Any]]:
    """Turns a list by class for each row into a list by row for each class."""
    return [[rounded(row[k]) if isinstance(row, list) else None for row in rows] for k in range(K)]


def _is_there(panel: Panel, columns: dict[str, Any]) -> bool:
    return all(line.column in columns for line in panel.lines)


def _ledger(record: Record) -> list[Panel]:
    """The ledger of the gap, in units of the optimum; only for squared loss on a linear head."""
    frame, optimum = record.metrics, record.theory["objective"]
    parts = [key for key in PARTS if key in frame and (frame[key] > 0).any()]
    if not parts or not optimum:
        return []
    lines = [Line("gap", "gap: (loss − optimum) / optimum", -1)]
    lines += [Line(key, PARTS[key].words, int(PARTS[key].colour[1:]), over=optimum) for key in parts]
    return [Panel("where the gap comes from: its parts / optimum", tuple(lines), log=True)]


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "title": panel.title,
        "log": panel.log,
        "classes": panel.of_classes,
        "lines": [_line(line) for line in panel.lines],
        "levels": [_level(level) for level in panel.levels],
    }


def _line(line: Line) -> dict[str, Any]:
    found: dict[str, Any] = {"column": line.column, "label": line.label, "colour": line.colour}
    if line.member is not None:
        found["member"] = line.member
    if line.is_error:
        found["error"] = True
    if line.is_baseline:
        found["baseline"] = True
    if line.is_bound:
        found["bound"] = True
    if line.over != 1:
        found["over"] = line.over
    return found


def _level(level: Level) -> dict[str, Any]:
    found: dict[str, Any] = {"label": level.label, "x": rounded(level.x), "y": rounded(level.y)}
    if level.member is not None:
        found["member"] = level.member
    if level.is_rival:
        found["rival"] = True
    return found


def _predicted(record: Record, column: str, K: int) -> Any:
    """A number, a list with one for each class, or None if theory does not predict the column."""
    if not column.startswith("class."):
        value = prediction_of(record, column)
        return rounded(value) if math.isfinite(value) else None
    values = [prediction_of(record, column, k) for k in range(K)]
    return rounded(values) if any(map(math.isfinite, values)) else None
