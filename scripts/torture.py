"""Break runs in every way that a shared machine knows, continue them, and compare them bit by bit with whole ones.

    python scripts/torture.py [--kills N] [--jobs N] [--seed N] [--only NAME]

Real trainings run as processes, forked from one that has PyTorch loaded. They are killed (SIGKILL) at random moments
and at random file operations, in the middle of a write too; stopped by signals; their disks fill up; their
checkpoints and metrics are damaged; and two of them start at once. After every fault the records must be readable and
hold a beginning of the undisturbed run's numbers. Continued to the end, all files must equal the undisturbed run's:
metrics and manifest (wall times aside), configuration, theory, and the checkpoint's weights, optimiser and random
states, of runs that have diverged too. Exit status 1 if anything differs.
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
from torture_processes import SCENARIOS, overrides

from ncrun.config.planning import job_of


def plan(kills: int, only: str | None, folder: Path, seed: int) -> list[Cycle]:
    """Cycles of four kills and every other fault over the scenarios, as many as the number of kills asks for."""
    names = [name for name in SCENARIOS if only is None or only in name]
    others = ["stop", "full", "broken", "damage", "damage", "twice"]
    cycles: list[Cycle] = []
    while kills > 0:
        index = len(cycles)
        scenario = names[index % len(names)]
        some = others if kills >= 20 or len(cycles) % 2 else others[:4]
        cycles.append(Cycle(scenario, seed + index // len(names), min(4, kills), some, folder))
        kills -= 4
    return cycles


def play(cycle: Cycle) -> Cycle:
    return cycle.play()


def warm_up() -> None:
    """Load what trainings load late, once, before they are forked."""
    for name in ("torch._dynamo", "sklearn.datasets", "scipy.optimize", "hydra._internal.hydra"):
        import_module(name)
    for scenario in SCENARIOS:
        typed = overrides(scenario, Path("nowhere"))
        job_of([each for each in typed if "," not in each.split("[")[0] and each != "-m"])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=132, help="at least so many SIGKILLs (132)")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="cycles side by side")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and places of all faults")
    parser.add_argument("--only", help="scenarios whose name contains this")
    arguments = parser.parse_args()
    warm_up()
    began = time.monotonic()
    by_scenario: dict[str, Counter[str]] = {}
    deviations: list[str] = []
    memory = Path("/dev/shm")  # where flushing costs nothing: it does not matter to a process that is killed
    with tempfile.TemporaryDirectory(prefix="ncrun-torture-", dir=memory if memory.is_dir() else None) as scratch:
        folder = Path(scratch)
        cycles = plan(arguments.kills, arguments.only, folder, arguments.seed)
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
    kinds += ["full disk", "failing disk", "damaged checkpoint", "damaged metrics", "two at once"]
    compared = "compared with the undisturbed run"
    print(f"{'':22}{'kills':>7}{'other faults':>14}{'comparisons':>13}")
    for scenario in [name for name in SCENARIOS if name in by_scenario]:
        found = by_scenario[scenario]
        kills = found[kinds[0]] + found[kinds[1]]
        print(f"{scenario:22}{kills:7}{sum(found[kind] for kind in kinds[2:]):14}{found[compared]:13}")
    print()
    for kind in [*kinds, *sorted(key for key in total if key.startswith("  ")), compared]:
        print(f"{kind:36}{total[kind]:5}")
    kills = total[kinds[0]] + total[kinds[1]]
    print(
        f"\n{kills} kills, all survived" if not deviations else f"\n{len(deviations)} deviations in {kills} kills",
        end="",
    )
    print(f"; {time.monotonic() - began:.0f} s")
    return 1 if deviations else 0


if __name__ == "__main__":
    sys.exit(main())
