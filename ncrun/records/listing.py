"""A list of runs: selects, sorts, and writes it as text, JSON or CSV."""

import csv
import io
import json
import math
import socket
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from ncrun.errors import UserError, nearest, printable
from ncrun.records.glance import STATES, Glance
from ncrun.records.groups import differing, known_key, rank, words
from ncrun.records.summary import distance
from ncrun.records.table import aligned, column_of, naming

# Columns of the last measured row.
MEASURED = ("loss", "gap", "nc1", "nc2_w", "nc2_h", "nc3", "nc4", "train_accuracy", "test_accuracy")


def _measured(key: str) -> Callable[[Glance], Any]:
    return lambda run: run.row.get(key)


# The facts about every run, by their names in JSON, CSV and --sort.
FACTS: Mapping[str, Callable[[Glance], Any]] = {
    "run": lambda run: str(run.path),
    "state": lambda run: run.state,
    "host": lambda run: run.host,
    "slurm": lambda run: run.slurm,
    "pid": lambda run: run.holder.get("pid"),
    "started": lambda run: run.manifest.get("started"),
    "epoch": lambda run: run.epoch,
    "epochs": lambda run: run.epochs,
    "seconds": lambda run: run.seconds,
    "seconds_left": lambda run: run.seconds_left,
    **{key: _measured(key) for key in MEASURED},
    "distance": lambda run: distance(run.row),
    "balanced_distance": lambda run: distance(run.row, "balanced."),
    "claim": lambda run: run.claim,
    "verdict": lambda run: run.verdict,
    "summary": lambda run: run.words or None,
}
# Columns of the text besides the differing keys, in order; those in NUMBERS are right-aligned.
PLACED, NUMBERS = ("run", "state", "where"), ("epoch", "left", "loss", "gap", "distance", "nc1")
# The columns in a narrow terminal, and the place of the keys among them.
TELLING = ("run", "state", "left", "gap", "distance", "keys", "loss", "nc1", "epoch", "where")
# Characters of a cell, and of the verdict or reason at the end of a line.
LONGEST, ENDING = 32, 24
MINUTE, HOUR, DAY = 60, 3600, 86400


def chosen(runs: Sequence[Glance], states: Sequence[str], conditions: Sequence[str]) -> list[Glance]:
    """Runs in one of these states (default: any) whose configuration meets every KEY=VALUE. Raises UserError."""
    for state in states:
        if state not in STATES:
            raise UserError(f"--state={state}: not one of {', '.join(STATES)}{nearest(state, STATES)}")
    wanted = []
    for condition in conditions:
        key, equals, value = condition.partition("=")
        if not equals:
            raise UserError(f"--where={condition}: must be KEY=VALUE, such as head.depth=3")
        known = [run.settings for run in runs]
        wanted.append((known_key(key, "--where", known) if any(known) else key, value))
    return [
        run
        for run in runs
        if (not states or run.state in states)
        and all(key in run.settings and _is(run.settings[key], value) for key, value in wanted)
    ]


def _is(value: Any, typed: str) -> bool:
    """Whether a configuration's value equals the given text: 5e-4 is 0.0005."""
    typed = typed.strip()
    if isinstance(value, list):
        parts = [each for each in typed.strip("[]").split(",") if each.strip()]
        return len(parts) == len(value) and all(map(_is, value, parts))
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(typed) == value
        except ValueError:
            return False
    return words(value) == typed


def ordered(runs: Sequence[Glance], by: str, reverse: bool = False) -> list[Glance]:
    """Sorted by a fact or a configuration key; missing values come last. Raises UserError for any other name."""
    if by in FACTS:
        of = FACTS[by]
    else:
        settings = [run.settings for run in runs]
        known = {column_of(key) for each in settings for key in each}
        columns = f"; the columns are {', '.join(FACTS)}, and configuration keys"
        if known and by not in known and f"{by}.name" not in known:
            raise UserError(f"--sort={by}: no such column{nearest(by, [*FACTS, *sorted(known)]) or columns}")
        key = known_key(by.removeprefix("config."), "--sort", settings) if known else by

        def of(run: Glance) -> Any:
            return run.settings.get(key)

    def place(run: Glance) -> tuple[Any, ...]:
        value = of(run)
        if by == "state":
            return (STATES.index(value),)
        return rank(words(value) if isinstance(value, list) else value)

    have = sorted((run for run in runs if of(run) is not None), key=place, reverse=reverse)
    return [*have, *(run for run in runs if of(run) is None)]


def keys_shown(runs: Sequence[Glance]) -> list[str]:
    """The configuration keys in which these runs differ, with the seed last."""
    keys = differing(run.settings for run in runs)
    seeds = {run.settings.get("seed") for run in runs if run.settings}
    return [*keys, *(["seed"] if len(seeds) > 1 else [])]


def facts(run: Glance) -> dict[str, Any]:
    """All facts about a run except its configuration; None for missing ones."""
    return {key: of(run) for key, of in FACTS.items()}


def as_json(runs: Sequence[Glance]) -> str:
    """A JSON list with a line for each run, including its configuration by dotted keys."""
    lines = [json.dumps({**facts(run), "config": run.settings}) for run in runs]
    return f"[{','.join(f'{chr(10)} {line}' for line in lines)}\n]\n" if lines else "[]\n"


def as_csv(runs: Sequence[Glance]) -> str:
    """A line for each run: its name, the configuration keys in which the runs differ, and the facts."""
    keys = keys_shown(runs)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    name, *others = FACTS
    writer.writerow([name, *map(column_of, keys), *others])
    for run in runs:
        found = facts(run)
        given = [words(run.settings[key]) if key in run.settings else "" for key in keys]
        cells = [found[name], *given, *("" if found[key] is None else found[key] for key in others)]
        writer.writerow([printable(cell) if isinstance(cell, str) else cell for cell in cells])
    return out.getvalue()


def as_text(runs: Sequence[Glance], width: int | None = None) -> str:
    """Aligned columns for a terminal, and below the number of runs in each state. A differing key is shown if it
    distinguishes runs that the keys before it do not. width: of a line in characters; None: no limit. Hidden columns
    are named below."""
    if not runs:
        return "no runs\n"
    different = keys_shown(runs)
    values = [[_value(run, key) for key in different] for run in runs]
    keys = [different[j] for j in naming(values, len(different))]
    columns: dict[str, Callable[[Glance], str]] = {name: CELLS[name] for name in PLACED if _is_told(name, runs)}
    columns |= {column_of(key): partial(_value, key=key) for key in keys}
    columns |= {name: CELLS[name] for name in NUMBERS if _is_told(name, runs)}
    names = list(columns)
    rows = [names, *([_cut(printable(of(run)), LONGEST) for of in columns.values()] for run in runs)]
    for row, run in zip(rows[1:], runs, strict=True):
        row[0] = printable(str(run.path))  # in full, for copying
    shown = _fitting(rows, [column_of(key) for key in keys], width)
    lines = aligned(rows, shown, {j for j, name in enumerate(names) if name not in NUMBERS})
    longest = max(map(len, lines))
    room = None if width is None else max(ENDING, width - longest - 2)
    endings = ["verdict", *(_cut(printable(run.verdict or run.words), room) for run in runs)]
    lines = [f"{line:<{longest}}  {ending}".rstrip() for line, ending in zip(lines, endings, strict=True)]
    counts = Counter(run.state for run in runs)
    told = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    lines += ["", f"{len(runs)} run{'s' * (len(runs) > 1)}: {told}"]
    hidden = [*(names[j] for j in range(len(names)) if j not in shown), *(key for key in different if key not in keys)]
    if hidden:
        lines += [f"not shown: {', '.join(hidden)} (--csv and --json have all)"]
    return "\n".join(lines) + "\n"


def _fitting(rows: Sequence[Sequence[str]], keys: Sequence[str], width: int | None) -> list[int]:
    """The columns that a line has room for, in their order."""
    names = rows[0]
    if width is None:
        return list(range(len(names)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    shown: list[int] = []
    for name in (each for telling in TELLING for each in (keys if telling == "keys" else [telling])):
        if name not in names:
            continue
        j = names.index(name)
        if len(shown) < 2 or sum(widths[i] + 2 for i in (*shown, j)) + ENDING <= width:
            shown.append(j)
    return sorted(shown)


def _is_told(name: str, runs: Sequence[Glance]) -> bool:
    """Whether a column says anything: where runs are, only if one is not on this machine, or in a job of Slurm."""
    if name == "where":
        here = socket.gethostname()
        return any(run.slurm is not None or run.host not in (None, here) for run in runs)
    return name in PLACED or any(CELLS[name](run) for run in runs)


def _value(run: Glance, key: str) -> str:
    return words(run.settings[key]) if key in run.settings else ""


def _where(run: Glance) -> str:
    return " ".join(each for each in (run.host, run.slurm and f"slurm {run.slurm}") if each)


def _progress(run: Glance) -> str:
    if run.epoch is None:
        return ""
    return str(run.epoch) if run.state == "done" or run.epochs is None else f"{run.epoch}/{run.epochs}"


def _number(key: str) -> Callable[[Glance], str]:
    return lambda run: "" if (value := FACTS[key](run)) is None else f"{value:.3g}"


CELLS: Mapping[str, Callable[[Glance], str]] = {
    "run": lambda run: str(run.path),
    "state": lambda run: run.state,
    "where": _where,
    "epoch": _progress,
    "left": lambda run: "" if run.seconds_left is None else duration(run.seconds_left),
    **{key: _number(key) for key in ("loss", "gap", "distance", "nc1")},
}


def duration(seconds: float) -> str:
    """A time in one unit: 40 s, 12 min, 3.5 h, 2.1 d."""
    for unit, letter in ((DAY, "d"), (HOUR, "h")):
        if seconds >= unit:
            return f"{seconds / unit:.1f} {letter}"
    return f"{math.ceil(seconds / MINUTE)} min" if seconds >= MINUTE else f"{math.ceil(seconds)} s"


def size(number: float) -> str:
    """Bytes in one unit, to two digits: 44 MB, 1.6 GB."""
    for unit, letter in ((1e9, "G"), (1e6, "M")):
        if number >= unit:
            return f"{float(f'{number / unit:.2g}'):g} {letter}B"
    return f"{float(f'{number / 1e3:.2g}'):g} kB"


def _cut(text: str, room: int | None) -> str:
    return text if room is None or len(text) <= room else f"{text[: room - 1]}…"
