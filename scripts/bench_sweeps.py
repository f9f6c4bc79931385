"""Times sweeps of short runs: one after the other, in workers that stay alive, and with a process for each run.

    .venv/bin/python scripts/bench_sweeps.py [--runs 8] [--repeats 3] [--memory 200]

Times whole command lines, including checks, imports and figures: free features of 3 classes, 8000 iterations with
momentum, seeds 0, 1, .... The ways alternate within each repeat, so that a busy machine slows all of them; medians are
printed. `a process for each` is one `ncrun train` for each seed, two at
a time, as jobs=2 worked before workers stayed alive. With --memory N it trains sweeps of N shorter runs, and prints the
memory of the training process (with workers: of the largest one) after some of the runs.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

NCRUN = [sys.executable, "-m", "ncrun.cli", "train"]
RUN = ["model=ufm", "counts=[20,10,5]", "optimizer=sgd", "epochs=8000"]
SHORT = ["model=ufm", "counts=[20,10,5]", "optimizer=sgd", "epochs=200"]


def seeds(number: int) -> str:
    return f"seed={','.join(map(str, range(number)))}"


def one_by_one(number: int, folder: str) -> None:
    subprocess.run([*NCRUN, "-m", *RUN, seeds(number)], cwd=folder, check=True, capture_output=True)


def in_workers(number: int, folder: str) -> None:
    subprocess.run([*NCRUN, "-m", *RUN, seeds(number), "jobs=2"], cwd=folder, check=True, capture_output=True)


def a_process_each(number: int, folder: str) -> None:
    def train(seed: int) -> None:
        subprocess.run([*NCRUN, *RUN, f"seed={seed}", "threads=1"], cwd=folder, check=True, capture_output=True)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(train, range(number)))


WAYS: dict[str, Callable[[int, str], None]] = {
    "one after the other, in one process": one_by_one,
    "jobs=2, workers that stay alive": in_workers,
    "a process for each, two at a time": a_process_each,
}


def times(number: int, repeats: int) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(repeats):
        for name, way in WAYS.items():
            with tempfile.TemporaryDirectory() as folder:
                began = time.perf_counter()
                way(number, folder)
                seconds[name].append(time.perf_counter() - began)
    slowest = statistics.median(seconds["one after the other, in one process"])
    print(f"{number} runs; median of {repeats}, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print("| way | seconds | times as fast |\n|---|---:|---:|")
    for name, found in seconds.items():
        print(f"| {name} | {statistics.median(found):.1f} | {slowest / statistics.median(found):.2f} |", flush=True)


def memory(number: int, more: Sequence[str]) -> None:
    command = [*NCRUN, "-m", *SHORT, seeds(number), *more]
    found = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("["):
                ended = int(line[1:].split()[0])
                found[ended] = max(map(_resident, _children(process.pid) if more else [process.pid]))
    shown = [each for each in (20, number // 4, number // 2, number - 1) if each in found]
    way = " ".join(more) or "one after the other"
    print(f"| {way} | {' | '.join(f'{found[each]:.0f} MB after {each}' for each in shown)} |", flush=True)


def _children(pid: int) -> list[int]:
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())) or [pid]


def _resident(pid: int) -> float:
    """Megabytes; 0 if the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--memory", type=int, default=0, metavar="N", help="measure the memory of sweeps of N runs instead"
    )
    options = parser.parse_args()
    if options.memory:
        for more in ([], ["jobs=2"]):
            memory(options.memory, more)
    else:
        times(options.runs, options.repeats)


if __name__ == "__main__":
    main()
