"""Trains the jobs of `ncrun train -m`: one after the other, several at once, or free features in as few programs as
their shapes allow."""

import time
from collections.abc import Sequence

from ncrun.engines.telling import Telling, names_of, print_table
from ncrun.errors import UserError
from ncrun.records.lock import Held
from ncrun.run import Job
from ncrun.training.finished import is_finished

Jobs = Sequence[tuple[Sequence[str], Job]]


def train_sweep(jobs: Jobs, skip_held: bool = False) -> int:
    """Trains all jobs, each given by its overrides; returns the highest exit status.

    All are checked before the first one starts, which raises UserError. A job that is refused later, or fails, does not
    stop the others; a signal ends all. skip_held: a run that another process holds is not a failure.
    """
    # Finished runs stay in their program, so that the others keep the same bits.
    whole = jobs[0][1].together and not all(is_finished(job) for _, job in jobs)
    left = jobs if whole else unfinished(jobs)
    status = _train(left, skip_held) if left else 0
    if status < 128:
        print_table([job for _, job in jobs])
    return status


def unfinished(jobs: Jobs) -> Jobs:
    """The jobs to train; prints how many are finished already. Raises UserError."""
    left = [(typed, job) for typed, job in jobs if not is_finished(job)]
    if len(left) < len(jobs):
        print(f"{len(jobs) - len(left)} of {len(jobs)} runs are finished already", flush=True)
    return left


def _train(jobs: Jobs, skip_held: bool) -> int:
    alone = [job for _, job in jobs]
    at_once = 1 if len(jobs) == 1 else alone[0].at_once
    telling = Telling(alone, names_of([typed for typed, _ in jobs]), skip_held)
    if at_once != 1:
        return _side_by_side(alone, telling, at_once)
    _check(alone)
    if alone[0].together:
        from ncrun.training.runs import train  # torch

        return train(alone)
    return _one_by_one(alone, telling)


def _check(jobs: Sequence[Job]) -> None:
    from ncrun.training.runs import check

    for job in jobs:
        check(job)


def _side_by_side(jobs: Sequence[Job], telling: Telling, at_once: int) -> int:
    """In workers."""
    from ncrun.engines.places import places
    from ncrun.engines.workers import Ended, train_in_workers

    at = places(jobs, at_once)
    telling.at_once = len(at)

    def ended(index: int, how: Ended) -> None:
        telling.ended(index, how.status, how.seconds, how.message, how.held)

    train_in_workers(jobs, at, ended, meanwhile=lambda: _check(jobs))
    return telling.all_ended()


def _one_by_one(jobs: Sequence[Job], telling: Telling) -> int:
    """In this process."""
    from ncrun.training.runs import train

    for index, job in enumerate(jobs):
        began, message, held = time.monotonic(), None, False
        try:
            status = train([job], quiet=True)
        except UserError as error:
            status, message, held = 2, str(error), isinstance(error, Held)
        telling.ended(index, status, time.monotonic() - began, message, held)
        if status >= 128:  # a signal ends the whole sweep, not only this job
            break
    return telling.all_ended()
