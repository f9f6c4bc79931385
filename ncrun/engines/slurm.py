"""A sweep as one job array of Slurm, submitted by submitit. Each task trains some ordinary runs, and continues by
itself after its time limit."""

import contextlib
import io
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ncrun.config import extensions, folders
from ncrun.config.launching import SlurmSettings, check_slurm
from ncrun.engines.slurm_task import Task, is_held, note_of
from ncrun.engines.sweeps import Jobs, unfinished
from ncrun.engines.telling import Telling, names_of, print_table
from ncrun.errors import UserError
from ncrun.run import Job
from ncrun.training.finished import is_finished

# submitit limits how often a task may time out; here there is no limit.
ANY_NUMBER = 10**6
# Seconds between two looks at the queue, which grow with the time.
SOONEST_SECONDS, LATEST_SECONDS = 2.0, 30.0


@dataclass(frozen=True)
class Submitted:
    """An array in the queue. name: as in squeue. ids: of the tasks, such as 12_3. tasks: the jobs of each.
    folder: of the logs."""

    name: str
    ids: Sequence[str]
    tasks: Sequence[Jobs]
    folder: Path

    @property
    def number(self) -> str:
        """The id of the array."""
        return self.ids[0].split("_")[0]

    @property
    def words(self) -> str:
        runs = sum(map(len, self.tasks))
        many = f"job array {self.number} of {len(self.ids)} tasks" if len(self.ids) > 1 else f"job {self.number}"
        return (
            f"submitted {runs} run{'s' * (runs > 1)} as {many}, named {self.name}; logs:"
            f" {self.folder}/{self.number}_*\nsqueue --jobs {self.number} shows them, scancel {self.number} ends them;"
            " the same command submits unfinished runs again"
        )


def submit_sweep(jobs: Jobs, given: SlurmSettings) -> int:
    """Submits all runs that are not finished and not held by another process; returns the exit status.

    With given.wait it waits until all tasks have ended, and returns their highest status. Raises UserError.
    """
    check_slurm(given)
    if jobs[0][1].together:
        raise UserError("together=true: has no effect with hydra/launcher=slurm; use runs_per_task and jobs=N")
    if jobs[0][1].at_once != 1 and given.runs_per_task == 1:
        raise UserError(
            "jobs: has no effect with hydra/launcher=slurm unless hydra.launcher.runs_per_task is more than 1"
        )
    left = [(typed, job) for typed, job in unfinished(jobs) if not _tell_held(job)]
    if not left:
        return 0
    submitted = _submit(left, given)
    print(submitted.words, flush=True)
    return _wait(submitted, given.array_parallelism) if given.wait else 0


def _tell_held(job: Job) -> bool:
    held = any(is_held(run.directory) for run in job.runs)
    if held:
        print(f"{job.directory}: another process is training it; not submitted", flush=True)
    return held


def _submit(jobs: Jobs, given: SlurmSettings) -> Submitted:
    try:
        import submitit
    except ImportError as error:
        raise UserError("hydra/launcher=slurm: submitit is not installed; pip install 'ncrun[slurm]'") from error
    folder, name = Path(given.folder).absolute(), given.name or _name(jobs)
    tasks = [jobs[first : first + given.runs_per_task] for first in range(0, len(jobs), given.runs_per_task)]
    own = [str(path) for path in extensions.loaded()], [str(path) for path in folders.OWN]
    works = [Task([list(typed) for typed, _ in task], *own, str(folder)) for task in tasks]
    before = set(folder.iterdir()) if folder.is_dir() else None
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # submitit prints what sbatch says, and raises it
            executor = submitit.SlurmExecutor(folder, max_num_timeout=ANY_NUMBER)
            executor.update_parameters(**_parameters(given, name))
            found = executor.submit_array(works)
    except OSError as error:
        raise UserError(f"hydra.launcher.folder={given.folder}: cannot be written ({error.strerror})") from error
    except RuntimeError as error:
        _remove_new(folder, before)
        hint = "; a larger runs_per_task makes fewer tasks" if "array" in str(error) else ""
        raise UserError(f"hydra/launcher=slurm: {_refusal(str(error))}{hint}") from error
    return Submitted(name, [job.job_id for job in found], tasks, Path(given.folder))


def _remove_new(folder: Path, before: set[Path] | None) -> None:
    """Removes files that submitit prepared for a failed submission."""
    for file in folder.iterdir() if folder.is_dir() else ():
        if file not in (before or ()):
            file.unlink()
    if before is None and folder.is_dir():
        folder.rmdir()


def _refusal(message: str) -> str:
    """sbatch's last line, or submitit's message on a machine without Slurm."""
    if "srun" in message:
        return "srun is not installed here; submit from a machine of the cluster"
    return (message.strip().splitlines() or ["sbatch failed"])[-1]


def _parameters(given: SlurmSettings, name: str) -> dict[str, Any]:
    """The options by submitit's names. Without --requeue some clusters do not queue a task again. Since Slurm 22 srun
    does not inherit the number of cores from sbatch."""
    wanted = {
        "job_name": name,
        "partition": given.partition,
        "account": given.account,
        "qos": given.qos,
        "constraint": given.constraint,
        "gpus_per_node": given.gpus_per_node,
        "cpus_per_task": given.cpus_per_task,
        "mem": None if given.mem_gb is None else given.mem_gb,
        "time": given.timeout_min,
        "signal_delay_s": given.signal_delay_s,
        "array_parallelism": given.array_parallelism,
        "setup": list(given.setup) or None,
        "additional_parameters": {"requeue": True, **given.additional},
        "stderr_to_stdout": True,
        "srun_args": [f"--cpus-per-task={given.cpus_per_task}"],
    }
    return {key: value for key, value in wanted.items() if value is not None}


def _name(jobs: Jobs) -> str:
    """A name for this sweep in the queue, where squeue shows eight letters."""
    config = jobs[0][1].config
    dataset = config["dataset"]["name"] if config["dataset"] else None
    words = config["experiment"] or config["name"] or "-".join(filter(None, (dataset, config["model"]["name"])))
    return str(words).replace("/", "-")


def _wait(submitted: Submitted, at_once: int) -> int:
    """Waits until no task is left in the queue; returns the highest status. Ctrl-C leaves the tasks alone."""
    jobs = [each for task in submitted.tasks for each in task]
    of_task = [id_ for id_, task in zip(submitted.ids, submitted.tasks, strict=True) for _ in task]
    alone = [job for _, job in jobs]
    telling = Telling(alone, names_of([typed for typed, _ in jobs]), True, min(at_once, len(submitted.ids)))
    began, pause, waiting = time.monotonic(), SOONEST_SECONDS, list(range(len(jobs)))
    queued = True
    while queued and waiting:
        time.sleep(pause)
        pause = min(LATEST_SECONDS, 1.2 * pause)
        queued = _is_queued(submitted.number)
        for index in [each for each in waiting if is_finished(alone[each])]:
            waiting.remove(index)
            telling.ended(index, 0, time.monotonic() - began)
    for index in waiting:
        try:
            status = int(note_of(submitted.folder, of_task[index]).read_text())
        except (OSError, ValueError):
            telling.ended(index, 1, time.monotonic() - began, f"task {of_task[index]} ended early; see its log")
            continue
        message = "another job was at it" if status == 0 else None
        telling.ended(index, status, time.monotonic() - began, message, held=status == 0)
    status = telling.all_ended()
    print_table(alone)
    return status


def _is_queued(number: str) -> bool:
    """Whether a job, or any task of an array, is in the queue; also yes if the controller does not answer."""
    asked = subprocess.run(["squeue", "--noheader", "--jobs", number], capture_output=True, text=True, check=False)
    if asked.returncode:
        return "Invalid job id" not in asked.stderr
    return bool(asked.stdout.strip())
