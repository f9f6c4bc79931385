"""The work of a Slurm task on its node: it trains its runs, and continues them after a restart."""

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

# The lock of a dead node counts for this long; a little more, because clocks differ.
PATIENCE_SECONDS = DEAD_AFTER_SECONDS + 15


@dataclass(frozen=True)
class Task:
    """Plain strings, because it is pickled and read again whenever the task restarts.

    runs: the overrides of each run. files, own_folders: the user's own, as in the process that submitted. notes: the
    folder for the exit status, written when the task has finally ended.
    """

    runs: Sequence[Sequence[str]]
    files: Sequence[str]
    own_folders: Sequence[str]
    notes: str

    def __call__(self) -> None:
        """Train them. At SIGUSR2 they write their checkpoints, and submitit's handler makes Slurm queue the task again.
        Ends in SystemExit with the highest status, so that Slurm reports a failure."""
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
        """What submitit starts again: the same task, because finished runs are left alone and others continue."""
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
    """The file for a task's exit status. job: its id, such as 12_3."""
    return folder / f"{job}_status"


def _wait_for_the_dead(jobs: Sequence[Job]) -> None:
    """Waits for locks: this task has held these runs before, and if its node died, their locks still count for a
    while."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until and any(is_held(run.directory) for job in jobs for run in job.runs):
        time.sleep(2)


def is_held(folder: Path) -> bool:
    """Whether a living process holds the run in a folder."""
    try:
        return holder_of(folder) is not None
    except OSError:
        return False
