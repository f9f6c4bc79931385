"""Write into the documentation what is said elsewhere already: in README.md the table of columns, from the metrics' own
definitions, in docs/limits.md that of bounds, in docs/cluster.md that of the keys of Slurm, in docs/class_weights.md
that of its runs, in docs/scale.md that of costs.

    .venv/bin/python scripts/write_docs.py [--check]

Replaces what stands between the marks. --check writes nothing; exit status 1 if it would have.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from results_remedies import of_archive
from scale_cost import for_imagenet

from ncrun.config import bounds
from ncrun.config.launching import SlurmSettings
from ncrun.metrics import METRICS, at_level
from ncrun.metrics.metric import LEVELS

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
Table = Sequence[tuple[str, ...]]


def columns() -> Table:
    """Metrics with the same definition share a line; then, for each level, what is measured there."""
    by_definition: dict[str, list[str]] = {}
    for metric in METRICS:
        by_definition.setdefault(metric.definition, []).append(f"`{metric.key}`")
    lines = [(", ".join(keys), definition) for definition, keys in by_definition.items()]
    for level, (pattern, where) in LEVELS.items():
        if level != "run":
            keys = ", ".join(f"`{metric.key}`" for metric in at_level(level) if tuple(metric.levels) != (level,))
            lines.append((f"`{pattern}`", f"{where}: {keys}"))
    return [("column", "meaning"), ("---", "---"), *lines]


def limits() -> Table:
    """Of each key that has some."""
    return [("key", "takes"), ("---", "---"), *((f"`{key}`", words) for key, words in bounds.table())]


def launcher_keys() -> Table:
    """Of hydra/launcher=slurm."""
    lines = [(f"`{each.name}`", each.metadata["meaning"], _default(each)) for each in fields(SlurmSettings)]
    return [("key of `hydra.launcher`", "meaning", "default"), ("---", "---", "---"), *lines]


def _default(field: "Field[Any]") -> str:
    value = None if field.default is MISSING else field.default
    return "" if value is None else f"`{str(value).lower()}`"


def remedies() -> Table:
    """Of the recorded runs."""
    return of_archive(RESULTS / "beyond-real.zip")


# By file: the marks before and behind its table.
TABLES: dict[str, tuple[str, str, Callable[[], Table]]] = {
    "README.md": (
        "<!-- columns: written by scripts/write_docs.py from the entries in ncrun/metrics -->",
        "<!-- end of columns -->",
        columns,
    ),
    "docs/limits.md": (
        "<!-- bounds: written by scripts/write_docs.py from ncrun/config/bounds.py -->",
        "<!-- end of bounds -->",
        limits,
    ),
    "docs/cluster.md": (
        "<!-- keys: written by scripts/write_docs.py from ncrun/config/launching.py -->",
        "<!-- end of keys -->",
        launcher_keys,
    ),
    "docs/scale.md": (
        "<!-- costs: written by scripts/write_docs.py from results/bench/stream.jsonl and gpu.md -->",
        "<!-- end of costs -->",
        for_imagenet,
    ),
    "docs/class_weights.md": (
        "<!-- remedies: written by scripts/write_docs.py from results/beyond-real.zip -->",
        "<!-- end of remedies -->",
        remedies,
    ),
}


def written(name: str, text: str) -> str:
    """The text with the table between its marks. Raises ValueError if they are not there, once and in this order."""
    opening, closing, table = TABLES[name]
    before, begin, rest = text.partition(opening)
    _, end, after = rest.partition(closing)
    if not begin or not end or opening in after:
        raise ValueError(f"{name}: has no table between {opening} and {closing}")
    lines = "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in table())
    return f"{before}{opening}\n\n{lines}\n{closing}{after}"


def main() -> int:
    parser = argparse.ArgumentParser(description="the parts of the documentation that are made from the code")
    parser.add_argument("--check", action="store_true", help="only say whether they are up to date")
    check = parser.parse_args().check
    status = 0
    for name in TABLES:
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        if written(name, text) == text:
            continue
        if check:
            print(f"{name}: its table is out of date; run scripts/write_docs.py", file=sys.stderr)
            status = 1
        else:
            path.write_text(written(name, text), encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main())
