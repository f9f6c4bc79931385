"""How long a user waits for figures redrawn from records: `ncrun figures NAME --from results`, PNG and PDF.

    python scripts/bench_figures.py [--each] [--jobs N] [--from results]

Rows: the core set and all experiments, each in one command. --each: every experiment in a command of its own before
that. Seconds from Enter to the prompt, and of processor time, that of the processes that draw included.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench_timing import machine

from ncrun.commands.figures import drawn_experiments

NCRUN = "from ncrun.cli import main; main()"


def main() -> None:
    parser = argparse.ArgumentParser(description="How long redrawing figures takes")
    parser.add_argument("--each", action="store_true", help="every experiment by itself, too")
    parser.add_argument("--jobs", type=int, help="pictures side by side (one per core)")
    parser.add_argument("--from", dest="source", default="results", help="where the records lie (results)")
    options = parser.parse_args()
    names = list(drawn_experiments())
    rows: dict[str, Sequence[str]] = {name: (name,) for name in names} if options.each else {}
    rows |= {"the core set": (), f"all {len(names)} experiments": names}
    more = ["--from", options.source] + ([f"--jobs={options.jobs}"] if options.jobs else [])
    print("| drawn | pictures | wall | processor |\n|---|---|---|---|")
    for row, words in rows.items():
        pictures, wall, processor = _drawn([*words, *more])
        print(f"| {row} | {pictures} | {wall:.1f} s | {processor:.1f} s |", flush=True)
    print("\n" + "; ".join(f"{key}: {value}" for key, value in machine().items()))


def _drawn(words: Sequence[str]) -> tuple[int, float, float]:
    """How many pictures the command draws; seconds, and of processor time."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", NCRUN, "figures", *words, "--out", folder]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        wall = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        pictures = len(list(Path(folder).rglob("*.png")))
    return pictures, wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
