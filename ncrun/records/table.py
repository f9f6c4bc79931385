"""Final numbers of runs, one row for each configuration: mean and standard deviation over seeds.

A number that a run does not have (no prediction, an error that never vanished) is None. If one of several seeds lacks
it, the mean is None, too; otherwise it would be the mean of the successful seeds.
"""

import math
from collections.abc import Callable, Container, Sequence
from typing import TYPE_CHECKING, Any

from ncrun.errors import UserError
from ncrun.metrics import METRICS
from ncrun.records.groups import differing_keys, split, unknown_metric, words
from ncrun.records.read import Record
from ncrun.records.summary import distance
from ncrun.records.whole import OF_BINS

if TYPE_CHECKING:
    import pandas as pd

SEEDS = "seeds"
STD = "_std"
# Columns that are not metrics of the last row.
DERIVED: dict[str, Callable[[Record, dict[str, Any]], float | None]] = {
    "distance": lambda record, row: distance(row),
    "balanced_distance": lambda record, row: distance(row, "balanced."),
    "fitted_epoch": lambda record, row: _fitted_epoch(record),
    "wall_seconds": lambda record, row: record.manifest.get("wall_seconds", row.get("seconds")),
}
COLUMNS = (
    "loss",
    "gap",
    "nc1",
    "nc2_w",
    "nc2_h",
    "nc3",
    "nc4",
    "train_accuracy",
    "test_accuracy",
    "nrc1",
    "nrc2",
    "nrc3",
    "r2",
    "test.r2",
    *DERIVED,
)
# Columns in a narrow terminal, the most important first.
TELLING = ("loss", "gap", "distance", "balanced_distance", "nc1", "test_accuracy", "fitted_epoch", "train_accuracy")
# Significant digits of a mean and of a standard deviation in printed tables.
MEAN_DIGITS, STD_DIGITS = 4, 2


def last_row(record: Record) -> dict[str, Any]:
    """The last row of metrics.jsonl, with None for null or missing. Empty if no epoch is measured."""
    if record.metrics.empty:
        return {}
    row = record.metrics.iloc[-1].to_dict()
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}


def _fitted_epoch(record: Record) -> float | None:
    """The first measured epoch without a training error."""
    if "train_accuracy" not in record.metrics:
        return None
    fitted = record.metrics.loc[record.metrics["train_accuracy"] == 1, "epoch"]
    return None if fitted.empty else int(fitted.iloc[0])


def final_table(
    records: Sequence[Record], columns: Sequence[str] = COLUMNS, named_by: Sequence[str] | None = None
) -> "pd.DataFrame":
    """One row for each configuration: the keys that differ, the number of seeds, then for each column the mean over
    seeds and, as NAME_std, the sample standard deviation (None for a single seed).

    columns: of COLUMNS, or any metric that is one number. named_by: configuration keys instead of those that differ;
    runs that agree in them are averaged, so they must distinguish the configurations. Columns without any number are
    skipped.
    """
    import pandas as pd

    keys = differing_keys(records) if named_by is None else list(named_by)
    rows = []
    for values, members in split(records, keys).items():
        row: dict[str, Any] = dict(zip(map(column_of, keys), values, strict=True))
        row[SEEDS] = len(members)
        finals = [(record, last_row(record)) for record in members]
        for column in columns:
            numbers = [DERIVED[column](*final) if column in DERIVED else final[1].get(column) for final in finals]
            row[column], row[column + STD] = _mean_and_std(numbers)
        rows.append(row)
    frame = pd.DataFrame(rows, dtype=object)
    numbers = list(frame.columns[len(keys) + 1 :])
    return frame.drop(columns=[name for name in numbers if frame[name].isna().all()])


def column_of(key: str) -> str:
    """The name of a configuration key's column; `loss` is both a key and a metric."""
    return f"config.{key}" if key in COLUMNS else key


def _mean_and_std(numbers: Sequence[float | None]) -> tuple[float | None, float | None]:
    known = [float(number) for number in numbers if number is not None]
    if len(known) < len(numbers):
        return None, None
    mean = math.fsum(known) / len(known)
    if len(known) == 1:
        return mean, None
    return mean, math.sqrt(math.fsum((number - mean) ** 2 for number in known) / (len(known) - 1))


def check_columns(chosen: Sequence[str], records: Sequence[Record]) -> list[str]:
    """The chosen columns, each once. Raises UserError for an unknown metric, or for one that is a list."""
    known = list(dict.fromkeys([*COLUMNS, *(key for record in records for key in record.metrics)]))
    lists = {key for record in records for key, value in last_row(record).items() if isinstance(value, list)}
    for name in chosen:
        if name in lists:
            option = "kind=cosines" if name.startswith(OF_BINS) else f"y={name}"
            raise UserError(f"--columns={name}: is a list of numbers; `ncrun plot {option}` draws it")
        if name not in known:
            raise unknown_metric("--columns", name, [key for key in known if key not in lists])
    return list(dict.fromkeys(chosen))


def as_csv(frame: "pd.DataFrame") -> str:
    """Plain numbers with all digits, mean and standard deviation in separate columns."""
    settings = frame.columns[: frame.columns.get_loc(SEEDS)]
    plain = frame.assign(**{key: frame[key].map(_setting_words) for key in settings})
    return str(plain.to_csv(index=False, lineterminator="\n"))


def as_text(frame: "pd.DataFrame", width: int | None = None) -> str:
    """Aligned columns for a terminal. width: of a line in characters: then only keys that distinguish the rows, and the
    most important numbers that fit, are shown, and hidden columns are named below. None: show all."""
    header, cells = _readable(frame, lambda number: number, " ± ")
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    seeds = len(settings_in(frame))
    shown = list(range(len(header)))
    if width is not None:
        shown = [*naming(cells, seeds), seeds]
        numbers = range(seeds + 1, len(header))
        for j in [
            *sorted((j for j in numbers if header[j] in TELLING), key=lambda j: TELLING.index(header[j])),
            *numbers,
        ]:
            fits = sum(widths[i] + 2 for i in (*shown, j)) - 2 <= width
            if j not in shown and (fits or shown[-1] == seeds):  # one number in any case
                shown.append(j)
            elif j not in shown and header[j] in TELLING:
                break
    lines = aligned([header, *cells], sorted(shown), range(seeds))
    if hidden := [name for j, name in enumerate(header) if j not in shown]:
        lines += ["", f"not shown: {', '.join(hidden)} (--columns=..., or --out FILE for all)"]
    return "\n".join(lines) + "\n"


def aligned(rows: Sequence[Sequence[str]], shown: Sequence[int], left: Container[int]) -> list[str]:
    """A line for each row with its cells in these columns. left: the left-aligned columns."""
    widths = {j: max(len(row[j]) for row in rows) for j in shown}
    return [
        "  ".join(row[j].ljust(widths[j]) if j in left else row[j].rjust(widths[j]) for j in shown).rstrip()
        for row in rows
    ]


def naming(cells: Sequence[Sequence[str]], count: int) -> list[int]:
    """Those of the first `count` columns that distinguish rows which the columns before them do not."""
    found: list[int] = []
    for j in range(count):
        before, after = ({tuple(row[i] for i in which) for row in cells} for which in (found, [*found, j]))
        if len(after) > len(before):
            found.append(j)
    return found


def as_markdown(frame: "pd.DataFrame") -> str:
    """A Markdown table with right-aligned numbers."""
    header, cells = _readable(frame, lambda number: number, " ± ")
    lines = [header, [("---" if name in settings_in(frame) else "---:") for name in header], *cells]
    return "".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |\n" for line in lines)


def as_latex(frame: "pd.DataFrame") -> str:
    """A LaTeX tabular that needs only booktabs; metrics by their symbols."""
    import pandas as pd

    header, cells = _readable(frame, _latex_number, r" \pm ")
    settings = settings_in(frame)
    escaped = [
        [_latex_text(cell) if j < len(settings) else _in_math(cell) for j, cell in enumerate(row)] for row in cells
    ]
    names = [METRICS[name].latex if name in METRICS else _latex_text(name) for name in header]
    alignment = "".join("l" if name in settings else "r" for name in header)
    return str(pd.DataFrame(escaped, columns=names).to_latex(index=False, escape=False, column_format=alignment))


WRITERS: dict[str, Callable[["pd.DataFrame"], str]] = {
    "text": as_text,
    "markdown": as_markdown,
    "csv": as_csv,
    "latex": as_latex,
}
SUFFIXES = {".md": "markdown", ".csv": "csv", ".tex": "latex"}


def settings_in(frame: "pd.DataFrame") -> list[str]:
    """The columns before the number of seeds: configuration keys."""
    return [str(name) for name in frame.columns[: frame.columns.get_loc(SEEDS)]]


def _setting_words(value: Any) -> str:
    return "" if value is None else words(value)


def _readable(
    frame: "pd.DataFrame", number: Callable[[str], str], plus_minus: str
) -> tuple[list[str], list[list[str]]]:
    """Header and cells for reading: a mean and its standard deviation in one cell."""
    settings = settings_in(frame)
    header = [str(name) for name in frame if name in settings or not str(name).endswith(STD)]
    rows = []
    for _, row in frame.iterrows():
        cells = []
        for name in header:
            value, deviation = row[name], row.get(name + STD)
            if name in settings:
                cells.append(_setting_words(value))
            elif value is None:
                cells.append("")
            else:
                spread = "" if deviation is None else plus_minus + number(f"{deviation:.{STD_DIGITS}g}")
                cells.append(number(f"{value:.{MEAN_DIGITS}g}") + spread)
        rows.append(cells)
    return header, rows


def _latex_number(number: str) -> str:
    mantissa, _, exponent = number.partition("e")
    return rf"{mantissa}\cdot10^{{{int(exponent)}}}" if exponent else mantissa


def _in_math(cell: str) -> str:
    return f"${cell}$" if cell else ""


def _latex_text(text: str) -> str:
    special = {character: rf"\{character}" for character in "&%$#_{}"}
    special |= {bracket: f"{{{bracket}}}" for bracket in "[]"}  # after \\ a bracket would be its argument
    special |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(character, character) for character in text)
