"""Whether a job is finished, from its folder, without torch."""

from ncrun.records import RunDirectory
from ncrun.run import Job
from ncrun.training.restarts import Restarts


def is_finished(job: Job) -> bool:
    """Whether all runs of a job are finished. Raises UserError if its folder holds something else."""
    if job.is_group:
        return Restarts(job).state() == "done"
    return RunDirectory(job.directory, job.identity).state() == "done"


def nothing_to_do(job: Job) -> str:
    """The message for a finished job."""
    return f"{job.directory}: finished already; nothing to do"
