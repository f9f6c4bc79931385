"""How the jobs of `ncrun train -m` are trained: one after the other, several processes side by side, or free features
in as few programs as their shapes allow."""

import os
from collections.abc import Sequence

from ncrun.engines.processes import run_side_by_side
from ncrun.errors import UserError
from ncrun.run import Job


def train_sweep(jobs: Sequence[tuple[Sequence[str], Job]]) -> int:
    """Train all jobs, each given with the overrides that make it; returns the exit status, the highest of all.

    A job that is refused leaves the others alone; the first refusal is raised when they have ended, as a UserError.
    """
    first = jobs[0][1]
    if first.at_once != 1:
        return _in_processes(jobs, first.at_once)

    from ncrun.training.runs import train

    if first.together:
        return train([job for _, job in jobs])
    statuses, refusals = [0], []
    for _, job in jobs:
        try:
            statuses.append(train([job]))
        except UserError as error:
            refusals.append(error)
        if statuses[-1] >= 128:  # a signal ends the whole sweep, not only this job
            break
    if refusals:
        raise refusals[0]
    return max(statuses)


def _in_processes(jobs: Sequence[tuple[Sequence[str], Job]], wanted: int) -> int:
    cores = len(os.sched_getaffinity(0))
    at_once = min(len(jobs), wanted or cores)
    statuses = [0]

    def ended(index: int, status: int, seconds: float, left: Sequence[int]) -> None:
        statuses.append(status if status >= 0 else 128 - status)

    run_side_by_side([_arguments(*job, cores // at_once) for job in jobs], at_once, ended, quiet=False)
    return max(statuses)


def _arguments(typed: Sequence[str], job: Job, share: int) -> list[str]:
    """The command line that trains one job, with its share of the cores unless it says how many threads it wants."""
    own = [override for override in typed if not override.startswith("jobs=")]
    machine, more = job.runs[0].machine, []
    if machine.threads == "auto" and not job.runs[0].is_free:
        more.append(f"threads={max(1, share)}")
    if machine.progress == "auto":
        more.append("progress=false")  # several live displays would overwrite each other
    return ["train", *own, *more]
