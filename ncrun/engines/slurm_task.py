"""What a task of a Slurm job does on its node: it trains its runs, and sees to it that they go on where they were."""

import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ncrun.config import extensions, folders
from ncrun.config.planning import job_of
from ncrun.engines.sweeps import train_sweep
from ncrun.errors import UserError
from ncrun.records.lock import DEAD_AFTER_SECONDS, holder_of
from ncrun.run import Job

# A lock of a node that died is believed for so long; a little more, for clocks differ.
PATIENCE_SECONDS = DEAD_AFTER_SECONDS + 15


@dataclass(frozen=True)
class Task:
    """Plain words, for it is pickled, and read again whenever the task starts anew.

    runs: the overrides of each run. files, own_folders: the user's own, as in the process that submitted. notes: the
    folder where the exit status is written when the task has ended for good.
    """

    runs: Sequence[Sequence[str]]
    files: Sequence[str]
    own_folders: Sequence[str]
    notes: str

    def __call__(self) -> None:
        """Train them. Warned by SIGUSR2, they write their checkpoints, and Slurm queues the task again (submitit's
        handler does it). Ends in SystemExit with the highest status of all, so that Slurm tells a failure as one."""
        try:
            status = self._train()
        except UserError as error:
            print(f"ncrun: {error}", file=sys.stderr)
            status = 2
        except KeyboardInterrupt:
            status = 128 + signal.SIGINT
        except SystemExit as error:
            status = int(error.code or 0)
        if status == 128 + signal.SIGUSR2:
            signal.raise_signal(signal.SIGUSR2)
        self._note(status)
        sys.exit(status)

    def checkpoint(self) -> object:
        """What submitit lets start anew: the same, for finished runs are left alone and others continued."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _train(self) -> int:
        extensions.load(self.files)
        for folder in self.own_folders:
            folders.add_folder(Path(folder))
        jobs = [(typed, job_of(typed)) for typed in self.runs]
        if int(os.environ.get("SLURM_RESTART_COUNT") or 0) > 0:
            _wait_for_the_dead([job for _, job in jobs])
        return train_sweep(jobs, skip_held=True)

    def _note(self, status: int) -> None:
        from submitit import JobEnvironment

        note_of(Path(self.notes), JobEnvironment().job_id).write_text(str(status))


def note_of(folder: Path, job: str) -> Path:
    """Where a task notes its exit status. job: its id, such as 12_3."""
    return folder / f"{job}_status"


def _wait_for_the_dead(jobs: Sequence[Job]) -> None:
    """This task was at these runs before; where its node died, their locks count for a while longer."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until and any(is_held(run.directory) for job in jobs for run in job.runs):
        time.sleep(2)


def is_held(folder: Path) -> bool:
    """Whether a living process is at the run in a folder."""
    try:
        return holder_of(folder) is not None
    except OSError:
        return False
