"""How the runs of `ncrun train -m` are trained: several processes side by side, or free features in one program."""

import os
from collections.abc import Sequence

from ncrun.config import RunConfig
from ncrun.engines.processes import run_side_by_side


def is_parallel(run: RunConfig) -> bool:
    """Whether a sweep of such runs is trained by `train_sweep`, and not one after the other."""
    return run.together or run.jobs != 1


def train_sweep(jobs: Sequence[tuple[Sequence[str], RunConfig]]) -> int:
    """Train all runs, each given with the overrides that make it; returns the exit status, the highest of all."""
    runs = [run for _, run in jobs]
    if runs[0].together:
        from ncrun.training.runs import train

        return train(runs)
    cores = len(os.sched_getaffinity(0))
    at_once = min(len(runs), cores if runs[0].jobs == "auto" else int(runs[0].jobs))
    statuses = [0]

    def ended(index: int, status: int, seconds: float, left: Sequence[int]) -> None:
        statuses.append(status if status >= 0 else 128 - status)

    run_side_by_side([_arguments(job, cores // at_once) for job in jobs], at_once, ended, quiet=False)
    return max(statuses)


def _arguments(job: tuple[Sequence[str], RunConfig], share: int) -> list[str]:
    """The command line that trains one run, with its share of the cores unless it says how many threads it wants."""
    overrides, run = job
    own = [override for override in overrides if not override.startswith("jobs=")]
    more = []
    if run.threads == "auto" and not run.is_free:
        more.append(f"threads={max(1, share)}")
    if run.progress == "auto":
        more.append("progress=false")  # several live displays would overwrite each other
    return ["train", *own, *more]
