"""Times `ncrun theory` as a whole command, for a problem of every kind.

Writes results/bench/predictions.md. Each number is the best of REPEATS calls. Processor time is beside wall time,
because other work on the machine lengthens only the wall time.

    .venv/bin/python scripts/bench_predictions.py
"""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

OUTPUT = Path(__file__).resolve().parents[1] / "results" / "bench" / "predictions.md"
REPEATS = 3
TEN = "counts=[90,80,70,60,50,40,30,20,10,5]"
PROBLEMS = {
    "squared loss, ten classes, three layers": f"model=ufm {TEN} head.depth=3",
    "squared loss with a bias, a hundred classes": (
        f"model=ufm counts=[{','.join(map(str, range(10, 110)))}] head.bias=true model.width=128"
    ),
    "cross-entropy, one layer, ten class counts": f"model=ufm loss=ce {TEN}",
    "the same with a bias": f"model=ufm loss=ce {TEN} head.bias=true",
    "the same, a thousand classes of two counts": (
        f"model=ufm loss=ce counts=[{','.join(['500'] * 500 + ['50'] * 500)}] head.bias=true model.width=1000"
    ),
    "the same, a thousand classes of a thousand counts": (
        f"model=ufm loss=ce counts=[{','.join(map(str, range(1000, 2000)))}] head.bias=true model.width=1000"
    ),
    "cross-entropy, three layers, seven classes": "model=ufm loss=ce counts=[20,20,20,20,20,20,20] head.depth=3",
    "the same with a bias, ten classes": (
        f"model=ufm loss=ce counts=[{','.join(['20'] * 10)}] head.depth=3 head.bias=true"
    ),
    "the same with a bias, a hundred classes": (
        f"model=ufm loss=ce counts=[{','.join(['20'] * 100)}] head.depth=3 head.bias=true model.width=128"
    ),
    "non-negative features": "model=ufm_relu counts=[50,30,2,1]",
    "ReLU head, four layers, six classes": "model=dufm counts=[20,20,20,20,20,20] head.depth=4",
    "a network on digits": "dataset=digits imbalance=0.1 head.depth=3",
}


def once(arguments: list[str]) -> tuple[float, float]:
    """Wall and processor seconds of one call."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [str(Path(sys.executable).with_name("ncrun")), "theory", *arguments]
    subprocess.run(command, check=True, capture_output=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    lines = ["| problem | processor time | wall time |", "|---|---|---|"]
    for name, arguments in PROBLEMS.items():
        found = [once(arguments.split()) for _ in range(REPEATS)]
        wall, processor = (min(values) for values in zip(*found, strict=True))
        lines.append(f"| {name} | {processor:.2f} s | {wall:.2f} s |")
        print(lines[-1], flush=True)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    head = (
        "What a call of `ncrun theory` costs, Python's start and all imports included: the best of"
        f" {REPEATS}. Written by\n`scripts/bench_predictions.py`; load of the machine's {os.cpu_count()} cores at the"
        f" end: {load}.\n"
    )
    OUTPUT.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
