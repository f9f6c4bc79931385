"""`make bench`: compares ncrun with the released procedure, in one run, and with the limit of the machine.

    .venv/bin/python scripts/bench.py [WORKLOAD ...] [--quick] [--threads N] [--out FOLDER]   # 5 minutes

Both sides of a workload are timed in turn, and medians are compared. Before that, the benchmark asserts on a smaller
problem that both compute the same losses, NC1, NC2 and NC3. The limit is the time of the matrix products alone,
measured at their own shapes in the same run. CIFAR-10 is read from $NCRUN_DATA. Without it random images of its shape
are used, and the table says so.

Prints a Markdown table; writes it, and a JSON object per line, to FOLDER/speed.md and FOLDER/speed.jsonl.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from bench_features import free_features, metrics
from bench_networks import imbalanced, mlp
from bench_timing import Row, json_lines, machine, markdown
from threadpoolctl import threadpool_limits

WORKLOADS: dict[str, Callable[[bool], list[Row]]] = {
    "mlp": mlp,
    "imbalanced": imbalanced,
    "free_features": free_features,
    "metrics": metrics,
}


def main(arguments: list[str] | None = None) -> int:
    """Runs, prints and writes; returns the exit status."""
    parser = argparse.ArgumentParser(description="compare ncrun with the released procedure")
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"any of {', '.join(WORKLOADS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="small problems, to see whether it runs")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="for both sides")
    parser.add_argument("--out", type=Path, default=Path("results/bench"), help="folder for speed.md and speed.jsonl")
    chosen = parser.parse_args(arguments)
    unknown = [name for name in chosen.workloads if name not in WORKLOADS]
    if unknown:
        parser.error(f"{unknown[0]}: not one of {', '.join(WORKLOADS)}")
    torch.set_num_threads(chosen.threads)
    # As in every training. NumPy's threads would spin for 50 ms after a product, on the cores that torch needs next.
    threadpool_limits(1, user_api="blas")
    began = time.perf_counter()
    rows: list[Row] = []
    for name in chosen.workloads or WORKLOADS:
        rows += WORKLOADS[name](chosen.quick)
        print(f"{name}: done after {time.perf_counter() - began:.0f} s", file=sys.stderr)
    table = markdown(rows, machine())
    print(table)
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "speed.md").write_text(table + "\n")
    (chosen.out / "speed.jsonl").write_text(json_lines(rows, machine()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
