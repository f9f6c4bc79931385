"""Compares ncrun.metrics with the slow float64 reference of the tests on random cases, and prints the deviations.

    .venv/bin/python scripts/verify_metrics.py [--cases 400]

For each metric: the largest deviation over all cases and head layers, relative, or absolute for distances and ledger
terms, which are numbers of order 1. Exit status 1 if one exceeds its tolerance (the reference gives the reasons for the
tolerances), or if NC1 exceeds its bound.
"""

import argparse
import re
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "metrics"))

from metric_cases import deviations, measured, random_case, reference, tolerance


def main() -> int:
    parser = argparse.ArgumentParser(description="compare metrics with a slow float64 reference on random cases")
    parser.add_argument("--cases", type=int, default=400)
    parser.add_argument("--seed", type=int, default=10_000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the matrices are tiny
    started = time.perf_counter()
    worst: dict[str, float] = {}
    above: dict[str, list[float]] = {"nc1": [], "nc1_trace": []}  # bound over value
    failures: list[str] = []
    for seed in range(arguments.seed, arguments.seed + arguments.cases):
        case = random_case(np.random.default_rng(seed))
        found = measured(case)
        for key, factors in above.items():
            if found.get(f"{key}_bound") is not None:
                value = found[f"head.{len(case.weights)}.{key}"]
                factors.append(found[f"{key}_bound"] / value if value else np.inf)
                if factors[-1] < 1 - tolerance(f"{key}_bound", case):
                    failures.append(f"case {seed}: {key} exceeds its bound")
        for key, deviation in deviations(found, reference(case)).items():
            name = re.sub(r"^head\.\d+", "head.m", key)
            worst[name] = max(worst.get(name, 0.0), deviation)
            if not deviation <= tolerance(key, case):
                failures.append(f"case {seed}: {key} is off by {deviation:.2g}")
    for name, deviation in worst.items():
        print(f"{name:<26} {deviation:.1e}")
    for key, factors in above.items():
        if factors:
            ends = f"at least {min(factors):.2f}, median {np.median(factors):.1f}"
            print(f"{key}_bound over {key}: {ends} ({len(factors)} cases)")
    seconds = time.perf_counter() - started
    print(f"{arguments.cases} cases, {len(worst)} metrics, {len(failures)} beyond tolerance, {seconds:.0f} s")
    for line in failures[:20]:
        print(line, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
