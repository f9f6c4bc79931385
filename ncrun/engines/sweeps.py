"""How the jobs of `ncrun train -m` are trained: one after the other, several side by side, or free features in as few
programs as their shapes allow."""

import time
from collections.abc import Sequence

from ncrun.engines.telling import Telling, names_of, print_table
from ncrun.errors import UserError
from ncrun.run import Job
from ncrun.training.finished import is_finished


def train_sweep(jobs: Sequence[tuple[Sequence[str], Job]]) -> int:
    """Train all jobs, each given with the overrides that make it; returns the exit status, the highest of all.

    All are checked before the first one starts, which raises UserError. One that is refused then, or that fails, leaves
    the others alone; a signal ends all.
    """
    left = [(typed, job) for typed, job in jobs if not is_finished(job)]
    if len(left) < len(jobs):
        print(f"{len(jobs) - len(left)} of {len(jobs)} runs are finished already", flush=True)
    status = _train(left) if left else 0
    if status < 128:
        print_table([job for _, job in jobs])
    return status


def _train(jobs: Sequence[tuple[Sequence[str], Job]]) -> int:
    alone = [job for _, job in jobs]
    names = names_of([typed for typed, _ in jobs])
    at_once = 1 if len(jobs) == 1 else alone[0].at_once
    if at_once != 1:
        return _side_by_side(alone, names, at_once)
    _check(alone)
    if alone[0].together:
        from ncrun.training.runs import train  # torch

        return train(alone)
    return _one_by_one(alone, Telling(alone, names, 1))


def _check(jobs: Sequence[Job]) -> None:
    from ncrun.training.runs import check

    for job in jobs:
        check(job)


def _side_by_side(jobs: Sequence[Job], names: Sequence[str], at_once: int) -> int:
    """In workers."""
    from ncrun.engines.places import places
    from ncrun.engines.workers import Ended, train_in_workers

    at = places(jobs, at_once)
    telling, statuses = Telling(jobs, names, len(at)), [0]

    def ended(index: int, how: Ended) -> None:
        statuses.append(how.status)
        telling.ended(index, how.status, how.seconds, how.message)

    train_in_workers(jobs, at, ended, meanwhile=lambda: _check(jobs))
    telling.all_ended()
    return max(statuses)


def _one_by_one(jobs: Sequence[Job], telling: Telling) -> int:
    """In this process."""
    from ncrun.training.runs import train

    statuses, message = [0], None
    for index, job in enumerate(jobs):
        began = time.monotonic()
        try:
            status, message = train([job], quiet=True), None
        except UserError as error:
            status, message = 2, str(error)
        telling.ended(index, status, time.monotonic() - began, message)
        statuses.append(status)
        if status >= 128:  # a signal ends the whole sweep, not only this job
            break
    telling.all_ended()
    return max(statuses)
