"""Writes the generated parts of the documentation: the table of bounds in docs/limits.md, of the keys of Slurm in
docs/cluster.md, of the runs in docs/class_weights.md, and of costs in docs/scale.md.

    .venv/bin/python scripts/write_docs.py [--check]

Replaces the text between the marks, and whole pages of docs/reference/ (reference_pages.py). --check writes nothing;
exit status 1 if a page is out of date.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from reference_pages import PAGES, table
from results_remedies import of_archive
from scale_cost import for_imagenet

from ncrun.config import bounds
from ncrun.config.launching import SlurmSettings

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
# Each version of Python prints help texts and signatures a little differently.
REFERENCE_PYTHON = (3, 11)
MADE = "<!-- written by scripts/write_docs.py -->"
Table = Sequence[tuple[str, ...]]


def limits() -> Table:
    """The bounds of each key that has any."""
    return [("key", "takes"), *((f"`{key}`", words) for key, words in bounds.table())]


def launcher_keys() -> Table:
    """The keys of hydra/launcher=slurm."""
    lines = [(f"`{each.name}`", each.metadata["meaning"], _default(each)) for each in fields(SlurmSettings)]
    return [("key of `hydra.launcher`", "meaning", "default"), *lines]


def _default(field: "Field[Any]") -> str:
    value = None if field.default is MISSING else field.default
    return "" if value is None else f"`{str(value).lower()}`"


def remedies() -> Table:
    """The table of the recorded runs."""
    return of_archive(RESULTS / "beyond-real.zip")


# By file: the marks before and after its table.
TABLES: dict[str, tuple[str, str, Callable[[], Table]]] = {
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


def page(name: str) -> str:
    """A page of the reference, made from the code."""
    return f"{MADE}\n\n{PAGES[name]()}"


def written(name: str, text: str) -> str:
    """The text with a new table between its marks. Raises ValueError unless both marks occur once, in this order."""
    opening, closing, rows = TABLES[name]
    before, begin, rest = text.partition(opening)
    _, end, after = rest.partition(closing)
    if not begin or not end or opening in after:
        raise ValueError(f"{name}: has no table between {opening} and {closing}")
    return f"{before}{opening}\n\n{table(*rows())}\n{closing}{after}"


def main() -> int:
    parser = argparse.ArgumentParser(description="write the generated parts of the documentation")
    parser.add_argument("--check", action="store_true", help="only check whether they are up to date")
    check = parser.parse_args().check
    status = 0
    wanted = {name: written(name, (ROOT / name).read_text(encoding="utf-8")) for name in TABLES}
    if sys.version_info[:2] == REFERENCE_PYTHON:
        wanted |= {f"docs/reference/{name}.md": page(name) for name in PAGES}
    else:
        print("docs/reference/: is only written and compared with Python {}.{}".format(*REFERENCE_PYTHON))
    for name, text in wanted.items():
        path = ROOT / name
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        if check:
            print(f"{name}: is out of date; run scripts/write_docs.py", file=sys.stderr)
            status = 1
        else:
            path.write_text(text, encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main())
