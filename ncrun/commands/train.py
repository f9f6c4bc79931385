"""`ncrun train`: trains one network, or with -m a grid of them."""

import contextlib
import io
from collections.abc import Sequence

from ncrun.commands.composed import run_composed
from ncrun.commands.dry_run import dry_run
from ncrun.commands.keys import asked_for, print_help
from ncrun.config.launching import SlurmSettings
from ncrun.errors import UserError
from ncrun.run import Job
from ncrun.training.finished import is_finished, nothing_to_do
from ncrun.training.launched import is_another_than_first, is_one_of_several


def train(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status. Raises UserError."""
    if keys := asked_for(arguments):
        return print_help(keys, arguments)
    if not is_another_than_first():
        return run_composed(arguments, train_job, _train_all, _submit_all)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            return run_composed(arguments, train_job, _train_all, _submit_all)
        except UserError:  # which the first says
            return 2


def train_job(job: Job) -> int:
    """Trains or continues one job; returns the exit status. Raises UserError."""
    if job.dry_run:
        return dry_run([((), job)])
    if is_finished(job):
        print(nothing_to_do(job))
        return 0
    from ncrun.training.runs import train  # torch

    if is_one_of_several():
        from ncrun.training.parallel import train_on_ranks

        return train_on_ranks([job])
    return train([job])


def _train_all(jobs: Sequence[tuple[Sequence[str], Job]]) -> int:
    if is_one_of_several():
        raise UserError("-m: has no effect in a process that torchrun started; jobs=N trains runs at the same time")
    if jobs[0][1].dry_run:
        return dry_run(jobs)
    from ncrun.engines.sweeps import train_sweep

    return train_sweep(jobs)


def _submit_all(jobs: Sequence[tuple[Sequence[str], Job]], given: SlurmSettings) -> int:
    if jobs[0][1].dry_run:
        return dry_run(jobs)
    from ncrun.engines.slurm import submit_sweep

    return submit_sweep(jobs, given)
