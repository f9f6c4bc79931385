"""How much slower training is while another process takes one of the cores, by how threads wait for each other.

    python scripts/bench_busy.py [--repeats 3] [--spins 300 300000]   # about 4 minutes on 2 quiet cores

An MLP on digits at batch 128, with as many threads as there are cores, quiet and beside a process that only counts. A
thread of GNU's OpenMP, which PyTorch comes with, spins while it waits for another one (300,000 times if nothing is
said, then it sleeps); where that other one has no core, it spins for nothing. ncrun lets it spin 1,000 times.
OMP_WAIT_POLICY=passive lets it sleep at once. Rows are the best and the worst of the repeats, which alternate; the
ratios are of the best, to the quiet run of the same way, and to ncrun's own quiet run.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from bench_timing import machine

from ncrun.records.read import read_manifest

TRAIN = ["train", "model.width=512", "model.batch_norm=true", "epochs=6", "measure=6", "progress=false"]
COUNT = "while True: pass"
OWN = "as ncrun sets it"


def main() -> None:
    parser = argparse.ArgumentParser(description="training on a busy machine, by how threads wait")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--spins", type=int, nargs="*", default=[300, 300_000], help="values of GOMP_SPINCOUNT")
    chosen = parser.parse_args()
    ways: dict[str, dict[str, str]] = {OWN: {}, "passive": {"OMP_WAIT_POLICY": "passive"}}
    ways |= {f"{spins:,} spins": {"GOMP_SPINCOUNT": str(spins)} for spins in chosen.spins}
    cores = len(os.sched_getaffinity(0))
    found: dict[tuple[str, bool], list[float]] = defaultdict(list)
    for _ in range(chosen.repeats):
        for way, variables in ways.items():
            found[way, False].append(_seconds(variables, cores))
            busy = subprocess.Popen([sys.executable, "-c", COUNT])
            try:
                found[way, True].append(_seconds(variables, cores))
            finally:
                busy.kill()
                busy.wait()
    print("| threads wait | machine | best | worst | ratio | to ncrun's quiet |\n|---|---|---|---|---|---|")
    for (way, is_busy), seconds in found.items():
        best, quiet, plain = min(seconds), min(found[way, False]), min(found[OWN, False])
        words = "one core taken" if is_busy else "quiet"
        print(f"| {way} | {words} | {best:.2f} s | {max(seconds):.2f} s | {best / quiet:.2f} | {best / plain:.2f} |")
    print("\n" + "; ".join(f"{key}: {value}" for key, value in machine().items()) + f"; {chosen.repeats} repeats")


def _seconds(waiting: dict[str, str], threads: int) -> float:
    """Of a training in a process of its own. waiting: variables that say how threads wait; all others are left out."""
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_"))}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "ncrun.cli", *TRAIN, f"threads={threads}", "run_dir=run"]
        subprocess.run(command, check=True, cwd=folder, env=variables | waiting, capture_output=True)
        manifest = read_manifest(Path(folder) / "run")
        assert manifest is not None
        return float(manifest["wall_seconds"])


if __name__ == "__main__":
    main()
