"""The output about several jobs while they are trained: a line for each that ended, the remaining time, and a table at
the end."""

import math
import sys
from collections.abc import Sequence

from ncrun.config.planning import summary_of
from ncrun.records.listing import duration
from ncrun.records.read import find_records
from ncrun.run import Job

# The room in a line besides the overrides.
SHOWN = ("loss", "gap", "distance", "nc1", "test_accuracy")


class Telling:
    """Prints how each job ended, on stdout, or on stderr if it failed. names: the overrides in which the jobs differ.
    skip_held: a job that another process holds is not a failure. at_once: number of jobs trained at once."""

    def __init__(self, jobs: Sequence[Job], names: Sequence[str], skip_held: bool = False, at_once: int = 1) -> None:
        self._jobs, self._names, self._skip_held = jobs, names, skip_held
        self.at_once = at_once
        self._seconds: list[float] = []
        self._failed: list[str] = []
        self._status = 0

    def ended(self, index: int, status: int, seconds: float, message: str | None = None, held: bool = False) -> None:
        """message: about a job that was refused (such as one that is held) or whose process was killed."""
        self._seconds.append(seconds)
        done, number = len(self._seconds), len(self._jobs)
        left = math.fsum(self._seconds) / done * (number - done) / self.at_once
        place = f"{done} of {number}" + (f", about {duration(max(1, left))} left" if done < number else "")
        line = f"[{place}] {self._names[index]} ({duration(max(1, seconds))}): "
        if held and self._skip_held:
            print(f"{line}skipped: {message}", flush=True)
            return
        self._status = max(self._status, status)
        if status == 0:
            print(line + (summary_of(self._jobs[index]) or "ended"), flush=True)
            return
        if status < 128:
            self._failed.append(self._names[index])
        else:
            message = message or "interrupted"
        print(line + (message or f"failed with exit status {status}"), file=sys.stderr, flush=True)

    def all_ended(self) -> int:
        """The highest exit status. Prints the failed jobs once more, because their lines may be far above."""
        if self._failed and len(self._jobs) > 1:
            words = f"{len(self._failed)} of {len(self._jobs)} failed: {'; '.join(self._failed)}"
            print(f"ncrun: {words}", file=sys.stderr, flush=True)
        return self._status


def print_table(jobs: Sequence[Job]) -> None:
    """Prints the final numbers of the finished jobs: a row for each configuration."""
    from ncrun.records.table import as_text, final_table

    records = [record for job in jobs if summary_of(job) is not None for record in find_records(job.directory)]
    if len(records) > 1:
        print(f"\n{as_text(final_table(records, SHOWN))}", end="", flush=True)


def names_of(typed: Sequence[Sequence[str]]) -> list[str]:
    """Each job's overrides that not all jobs share; for a single job all of them."""
    common = set.intersection(*map(set, typed)) if len(typed) > 1 else set()
    return [" ".join(each for each in one if each not in common) or "." for one in typed]
