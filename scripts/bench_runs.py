"""Times `ncrun runs` on a thousand runs: copies of recorded ones, each with its own seed.

    .venv/bin/python scripts/bench_runs.py [--runs 1000] [--repeat 3]

Prints the best of some repetitions for each way to list them: processor seconds and wall seconds.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
# `ncrun runs` never reads these files, so they are not copied.
LEFT_OUT = ("checkpoint.pt", "curves.png")
WAYS: tuple[list[str], ...] = ([], ["--json"], ["--csv"], ["--sort", "gap"], ["--where", "head.depth=3"])


def copies(folder: Path, number: int) -> None:
    """Writes runs into a folder, copies of those in results/*-cpu.zip in turn."""
    with tempfile.TemporaryDirectory() as unpacked:
        for archive in sorted((ROOT / "results").glob("*-cpu.zip")):
            zipfile.ZipFile(archive).extractall(Path(unpacked) / archive.stem)
        originals = sorted(path.parent for path in Path(unpacked).rglob("manifest.json"))
        for seed in range(number):
            original = originals[seed % len(originals)]
            run = folder / f"{original.name}-{seed}"
            shutil.copytree(original, run, ignore=shutil.ignore_patterns(*LEFT_OUT))
            config = run / "config.yaml"
            config.write_text(re.sub(r"(?m)^seed: .*", f"seed: {seed}", config.read_text()))


def measured(arguments: list[str]) -> tuple[float, float]:
    """Processor seconds and wall seconds of one command."""
    before, began = os.times(), time.perf_counter()
    subprocess.run([sys.executable, "-m", "ncrun.cli", *arguments], check=True, stdout=subprocess.DEVNULL)
    after, ended = os.times(), time.perf_counter()
    computed = after.children_user + after.children_system - before.children_user - before.children_system
    return computed, ended - began


def main() -> int:
    parser = argparse.ArgumentParser(description="time `ncrun runs`")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        copies(Path(folder), options.runs)
        for way in WAYS:
            found = [measured(["runs", folder, *way]) for _ in range(options.repeat)]
            computed, clock = (min(each) for each in zip(*found, strict=True))
            words = " ".join(["ncrun runs", *way])
            print(f"{options.runs} runs, {words}: {computed:.2f} s of computing, {clock:.2f} s by the clock")
    return 0


if __name__ == "__main__":
    sys.exit(main())
