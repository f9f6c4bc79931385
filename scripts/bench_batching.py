"""Does batching pay? Times the same free-feature runs one after the other, in two processes at once, and in one
program.

    .venv/bin/python scripts/bench_batching.py [--runs 16] [--epochs 10000] [--repeats 3]

Gradient descent with momentum, seeds 0, 1, ..., measured every 1000 iterations, because measuring is not batched.
Single and batched runs train on one thread of this process, which has imported everything. The processes include their
starts and imports, as with `jobs=2`. Prints the median seconds of each way, and how many times as fast it is as one
after the other. The ways alternate within each repeat, so that a busy machine slows all of them. After each
repeat the losses of the single and the batched runs are compared (1e-9 of the value).
"""

import argparse
import contextlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from ncrun.config.planning import job_of
from ncrun.engines.places import places
from ncrun.engines.workers import train_in_workers
from ncrun.run import Job
from ncrun.training import ending
from ncrun.training.runs import train

PROBLEMS = {
    "3 classes, N = 14, d = 8": "counts=[8,4,2] model.width=8",
    "4 classes, N = 400, d = 64, M = 1": "counts=[200,100,50,50]",
    "4 classes, N = 400, d = 64, M = 3": "counts=[200,100,50,50] head.depth=3",
    "10 classes, N = 1000, d = 64, M = 1": "counts=[100,100,100,100,100,100,100,100,100,100]",
}
PROCESSES = 2


def overrides(problem: str, seed: int, epochs: int, folder: Path) -> list[str]:
    run = ["model=ufm", *problem.split(), "optimizer=sgd", f"epochs={epochs}", f"seed={seed}", "measure=1000"]
    return [*run, "progress=false", f"run_dir={folder / str(seed)}"]


def jobs_of(problem: str, seeds: int, epochs: int, folder: Path) -> list[Job]:
    return [job_of(overrides(problem, seed, epochs, folder)) for seed in range(seeds)]


def one_by_one(problem: str, seeds: int, epochs: int, folder: Path) -> None:
    for job in jobs_of(problem, seeds, epochs, folder):
        train([job])


def together(problem: str, seeds: int, epochs: int, folder: Path) -> None:
    train(jobs_of(problem, seeds, epochs, folder))


def processes(problem: str, seeds: int, epochs: int, folder: Path) -> None:
    jobs = jobs_of(problem, seeds, epochs, folder)
    train_in_workers(jobs, places(jobs, PROCESSES), lambda index, how: None)


WAYS: dict[str, Callable[[str, int, int, Path], None]] = {
    "one by one": one_by_one,
    f"{PROCESSES} processes": processes,
    "together": together,
}


def last_losses(folder: Path, seeds: int) -> list[float]:
    last = [(folder / str(seed) / "metrics.jsonl").read_text().splitlines()[-1] for seed in range(seeds)]
    return [float(json.loads(line)["loss"]) for line in last]


def main() -> None:
    parser = argparse.ArgumentParser(description="Free-feature runs one by one, in processes, and batched.")
    parser.add_argument("--runs", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=10000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--without-processes", action="store_true", help="they take longest")
    options = parser.parse_args()
    ending.draw = lambda records: True  # drawing takes the same time in each way
    ways = {name: way for name, way in WAYS.items() if way is not processes or not options.without_processes}
    print(f"{options.runs} runs of {options.epochs} iterations; median of {options.repeats}")
    for title, problem in PROBLEMS.items():
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.repeats):
            losses = {}
            for name, way in ways.items():
                with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(None):
                    began = time.perf_counter()
                    way(problem, options.runs, options.epochs, Path(folder))
                    seconds[name].append(time.perf_counter() - began)
                    losses[name] = last_losses(Path(folder), options.runs)
            for alone, batched in zip(losses["one by one"], losses["together"], strict=True):
                assert abs(alone - batched) <= 1e-9 * alone, (alone, batched)
        slowest = statistics.median(seconds["one by one"])
        print(title)
        for name in ways:
            median = statistics.median(seconds[name])
            print(f"  {name:12} {median:7.2f} s   {slowest / median:5.2f} times as fast")


if __name__ == "__main__":
    main()
