"""How much slower training is while another process takes one of the cores, by how threads wait for each other.

    python scripts/bench_busy.py [--repeats 2]

An MLP on digits at batch 128, with as many threads as there are cores, quiet and beside a process that only counts. A
thread of GNU's OpenMP, which PyTorch comes with, spins while it waits for another one; where that other one has no
core, it spins for nothing. OMP_WAIT_POLICY=passive lets it sleep. Rows are the best of the repeats, which alternate;
the ratio is to the quiet run of the same policy, `to active` to the quiet run as it is without the variable.
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


def main() -> None:
    parser = argparse.ArgumentParser(description="training on a busy machine, by how threads wait")
    parser.add_argument("--repeats", type=int, default=2)
    repeats = parser.parse_args().repeats
    cores = len(os.sched_getaffinity(0))
    found: dict[tuple[str, bool], list[float]] = defaultdict(list)
    for _ in range(repeats):
        for policy in ("active", "passive"):
            found[policy, False].append(_seconds(policy, cores))
            busy = subprocess.Popen([sys.executable, "-c", COUNT])
            try:
                found[policy, True].append(_seconds(policy, cores))
            finally:
                busy.kill()
                busy.wait()
    print("| threads wait | machine | training | ratio | to active |\n|---|---|---|---|---|")
    for (policy, is_busy), seconds in found.items():
        best, quiet, plain = min(seconds), min(found[policy, False]), min(found["active", False])
        words = "one core taken" if is_busy else "quiet"
        print(f"| {policy} | {words} | {best:.2f} s | {best / quiet:.2f} | {best / plain:.2f} |")
    print("\n" + "; ".join(f"{key}: {value}" for key, value in machine().items()) + f"; the best of {repeats}")


def _seconds(policy: str, threads: int) -> float:
    """Of a training in a process of its own. active: as it is where nothing is said."""
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_"))}
    if policy == "passive":
        variables["OMP_WAIT_POLICY"] = "passive"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "ncrun.cli", *TRAIN, f"threads={threads}", "run_dir=run"]
        subprocess.run(command, check=True, cwd=folder, env=variables, capture_output=True)
        manifest = read_manifest(Path(folder) / "run")
        assert manifest is not None
        return float(manifest["wall_seconds"])


if __name__ == "__main__":
    main()
