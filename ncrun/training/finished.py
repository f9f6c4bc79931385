"""Whether a job is finished, asked of its folder, without torch."""

from ncrun.records import RunDirectory
from ncrun.run import Job
from ncrun.training.restarts import Restarts


def is_finished(job: Job) -> bool:
    """Whether nothing of a job is left to be trained. Raises UserError if its folder holds something else."""
    if job.is_group:
        return Restarts(job).state() == "done"
    return RunDirectory(job.directory, job.identity).state() == "done"


def nothing_to_do(job: Job) -> str:
    """What to answer to one that is."""
    return f"{job.directory}: finished already; nothing to do"
