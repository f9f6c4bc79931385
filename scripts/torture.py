"""Disturbs runs in every way that happens on a shared machine, continues them, and compares them bit by bit.

    [NCRUN_TORTURE=10] python scripts/torture.py [--faults N] [--jobs N] [--seed N] [--only NAME]

Real trainings run as processes, forked from one that has PyTorch loaded. They are killed (SIGKILL) at random moments
and at random file operations, also in the middle of a write; stopped by signals; their disks fill up; their
checkpoints and metrics are damaged; two to fifty of them start at once; and they sleep in a file operation while
another host takes over and finishes the run. After every fault the records must be readable, and their
rows must be the first ones of the undisturbed run. After the continued run has finished, its files must equal those of
the undisturbed run, and its seal must fit: metrics and manifest (without wall times), configuration, theory, and the
checkpoint's weights, optimiser and random states. This holds for diverged runs, too. Exit status 1 if anything differs.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path

from torture_cycle import Cycle, run_straight
from torture_processes import SCENARIOS, jobs_of

# Faults of each cycle, besides its kills.
OTHERS = ("stop", "full", "broken", "damage", "damage", "at once", "sleep", "sleep")
KILLS = 4


def plan(faults: int, only: str | None, folder: Path, seed: int) -> list[Cycle]:
    """Enough cycles of kills and all other faults for the number of faults, one scenario after the other."""
    names = [name for name in SCENARIOS if only is None or only in name]
    cycles: list[Cycle] = []
    while faults > 0:
        round_, index = divmod(len(cycles), len(names))
        kills = min(KILLS, faults)
        others = OTHERS[: max(0, min(len(OTHERS), faults - kills))]
        if round_ == 0 and faults >= KILLS + len(OTHERS) and len(names) <= faults // 20:
            others = (*others, "fifty")
        cycles.append(Cycle(names[index], seed + round_, kills, others, folder))
        faults -= kills + len(others)
    return cycles


def play(cycle: Cycle) -> Cycle:
    return cycle.play()


def warm_up() -> None:
    """Imports, before forking, the modules that trainings import late."""
    for name in ("torch._dynamo", "sklearn.datasets", "scipy.optimize", "pandas", "hydra._internal.hydra"):
        import_module(name)
    for scenario in SCENARIOS:
        jobs_of(scenario, Path("nowhere"))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    times = int(os.environ.get("NCRUN_TORTURE", "1"))
    parser.add_argument(
        "--faults", type=int, default=1000 * times, help="approximate number of faults; default: 1000 x NCRUN_TORTURE"
    )
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="cycles at once")
    parser.add_argument("--seed", type=int, default=0, help="seed of the times and places of all faults")
    parser.add_argument("--only", help="only scenarios whose name contains this")
    arguments = parser.parse_args()
    warm_up()
    began = time.monotonic()
    by_scenario: dict[str, Counter[str]] = {}
    deviations: list[str] = []
    memory = Path("/dev/shm")  # flushing is fast there, and a kill of the process does not need it
    with tempfile.TemporaryDirectory(prefix="ncrun-torture-", dir=memory if memory.is_dir() else None) as scratch:
        folder = Path(scratch)
        cycles = plan(arguments.faults, arguments.only, folder, arguments.seed)
        with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("fork")) as pool:
            scenarios = dict.fromkeys(cycle.scenario for cycle in cycles)
            for straight in [pool.submit(run_straight, scenario, folder) for scenario in scenarios]:
                straight.result()
            for future in as_completed([pool.submit(play, cycle) for cycle in cycles]):
                cycle = future.result()
                by_scenario.setdefault(cycle.scenario, Counter()).update(cycle.counts)
                deviations += cycle.deviations
                for line in cycle.deviations:
                    print(f"DEVIATION  {line}", flush=True)
    total = sum(by_scenario.values(), Counter())
    kinds = ["killed at a random moment", "killed in a file operation", "stopped by a signal"]
    kinds += ["full disk", "failing disk", "damaged checkpoint", "damaged metrics", "several at once"]
    kinds += ["slept while another host took over"]
    compared = "compared with the undisturbed run"
    print(f"{'':22}{'kills':>7}{'other faults':>14}{'comparisons':>13}")
    for scenario in [name for name in SCENARIOS if name in by_scenario]:
        found = by_scenario[scenario]
        kills = found[kinds[0]] + found[kinds[1]]
        print(f"{scenario:22}{kills:7}{sum(found[kind] for kind in kinds[2:]):14}{found[compared]:13}")
    print()
    for kind in [*kinds, *sorted(key for key in total if key.startswith("  ")), compared]:
        print(f"{kind:36}{total[kind]:5}")
    faults = sum(total[kind] for kind in kinds)
    print(
        f"\n{faults} faults, all survived" if not deviations else f"\n{len(deviations)} deviations in {faults} faults",
        end="",
    )
    print(f"; {time.monotonic() - began:.0f} s")
    return 1 if deviations else 0


if __name__ == "__main__":
    sys.exit(main())
