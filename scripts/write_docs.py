"""Write into README.md what is said elsewhere already: the table of columns, from the metrics' own definitions.

    .venv/bin/python scripts/write_docs.py [--check]

Replaces what stands between the two marks. --check writes nothing; exit status 1 if it would have.
"""

import argparse
import sys
from pathlib import Path

from ncrun.metrics import METRICS, at_level
from ncrun.metrics.metric import LEVELS

README = Path(__file__).parents[1] / "README.md"
BEGIN = "<!-- columns: written by scripts/write_docs.py from the entries in ncrun/metrics -->"
END = "<!-- end of columns -->"


def columns() -> str:
    """The table: metrics with the same definition share a line; then, for each level, what is measured there."""
    by_definition: dict[str, list[str]] = {}
    for metric in METRICS:
        by_definition.setdefault(metric.definition, []).append(f"`{metric.key}`")
    lines = [(", ".join(keys), definition) for definition, keys in by_definition.items()]
    for level, (pattern, where) in LEVELS.items():
        if level != "run":
            keys = ", ".join(f"`{metric.key}`" for metric in at_level(level) if tuple(metric.levels) != (level,))
            lines.append((f"`{pattern}`", f"{where}: {keys}"))
    table = [("column", "meaning"), ("---", "---"), *lines]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in table)


def written(text: str) -> str:
    """The text with the table between its marks. Raises ValueError if they are not there, once and in this order."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in after:
        raise ValueError(f"README.md: has no table between {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{columns()}\n{END}{after}"


def main() -> int:
    parser = argparse.ArgumentParser(description="the parts of README.md that are made from the code")
    parser.add_argument("--check", action="store_true", help="only say whether they are up to date")
    check = parser.parse_args().check
    text = README.read_text(encoding="utf-8")
    if written(text) == text:
        return 0
    if check:
        print("README.md: its table of columns is out of date; run scripts/write_docs.py", file=sys.stderr)
        return 1
    README.write_text(written(text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
