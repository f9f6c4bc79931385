"""The papers' runs on a GPU, the most valuable first: the cost of each, those that fit into the remaining time, and the
number of small ones at once."""

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from types import FrameType

from gpu_cost import Cost, Peaks, readable, run_cost

from ncrun.config.planning import PlannedJob, job_of, plan
from ncrun.data import tensors
from ncrun.engines.places import places
from ncrun.engines.workers import Ended, train_in_workers
from ncrun.errors import UserError
from ncrun.records.read import read_manifest
from ncrun.run import Run

# The most valuable first. From a grid, only the jobs with this override.
WORTH = (
    ("dang2023/mlp-imbalanced", ""),
    ("dang2024/mlp", ""),
    ("dang2024/mlp-cifar10", ""),
    ("dang2024/convolutional", "model=resnet18"),
    ("dang2023/mlp-balanced", ""),
    ("dang2023/cross-entropy-balanced", ""),
    ("dang2023/convolutional-balanced", "model=resnet18"),
    ("sukenik2023/end-to-end", ""),
)
# Overrides with which each run takes seconds on a CPU; the runs are those of scale cpu.
TINY = ("epochs=4", "finish=null", "measure=every", "threads=1", "device=cpu")
AT_ONCE = (1, 2, 4)
# Seconds for which a process starts, reads its data and draws.
AROUND = 12.0
# The least gain for which runs are trained at once.
GAIN = 1.15


class TimeIsUp(Exception):
    """Raised when the time is over, at any place."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """A context that raises TimeIsUp inside after some seconds. Trainings that run at once write checkpoints first."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise TimeIsUp

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.01))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@dataclass(frozen=True)
class Candidate:
    """A run to train. reason: why it cannot be trained here, or ""."""

    job: PlannedJob
    cost: Cost
    reason: str
    label: str

    @property
    def run(self) -> Run:
        return self.job.job.runs[0]

    @property
    def done(self) -> bool:
        return self.job.summary is not None

    def seconds(self, peaks: Peaks) -> float:
        """Seconds at the device's peaks, plus those of starting and drawing."""
        return self.cost.seconds(peaks, self.run.descent.precision) + AROUND

    def is_small(self, peaks: Peaks) -> bool:
        """Whether other runs can be trained at the same time."""
        return self.cost.is_small(peaks, self.run.descent.precision)


def candidates(more: Sequence[str], rehearse: bool, only: Sequence[str] = ()) -> list[Candidate]:
    """All runs, the most valuable first. more: overrides of each. only: experiments to which they are limited.

    Raises UserError for overrides that a run refuses.
    """
    missing: dict[str, str] = {}
    found = []
    for experiment, has in WORTH:
        if only and experiment not in only:
            continue
        added = [*(TINY if rehearse else ()), *more]
        for job in plan(experiment, "cpu" if rehearse else "paper", more=added):
            if not has or has in job.typed:
                run = job.job.runs[0]
                source = run.about.get("dataset") or ""
                if source not in missing:
                    missing[source] = _missing(run)
                label = " ".join([experiment, *(each for each in job.typed[2:] if each not in added)])
                found.append(Candidate(job, run_cost(run), missing[source], label))
    return found


def _missing(run: Run) -> str:
    """The reason why its data cannot be read, or ""."""
    try:
        tensors.check(run.data)
    except UserError as error:
        return f"no data: {error}"
    return ""


def table(found: Sequence[Candidate], peaks: Peaks, slower: float) -> list[str]:
    """The runs to train, a line each, in order. slower: factor on predicted times, from earlier runs."""
    lines = [f"{'run':<62} {'FLOP':>8} {'bytes':>8} {'starts':>8} {'at least':>9} {'expected':>9}"]
    for each in found:
        least = each.seconds(peaks)
        state = "done" if each.done else each.reason.split("(")[0].strip() or readable(least * slower)
        counts = " ".join(f"{value:8.2g}" for value in (each.cost.flops, each.cost.bytes, each.cost.launches))
        size = ", small" if each.is_small(peaks) else ""
        lines.append(f"{each.label:<62} {counts} {readable(least):>9} {state:>9}{size}")
    return lines


@dataclass
class Trainer:
    """Trains as many runs of a list as a time allows. slower: how many times longer than predicted runs took, updated
    as
    they end. tell: prints a line."""

    peaks: Peaks
    at_once: int
    slower: float
    tell: Callable[[str], None]

    def train(self, found: Sequence[Candidate], seconds: float) -> int:
        """Trains the runs that fit, the most valuable first; then, if time is left, begins one that does not fit, which
        a later call continues. Returns the number of failures."""
        until, failed = time.monotonic() + seconds, 0
        waiting = [each for each in found if not each.done and not each.reason]
        try:
            with time_limit(seconds):
                while waiting:
                    wave = self._next(waiting, until - time.monotonic())
                    waiting = [each for each in waiting if each not in wave]
                    failed += self._wave(wave)
        except TimeIsUp:
            self.tell("the time of the runs is over; what was running has a checkpoint")
        return failed

    def _next(self, waiting: Sequence[Candidate], left: float) -> list[Candidate]:
        """The most valuable run that fits, with the small ones that follow it if it is small; if none fits, the most
        valuable one."""
        fitting = [each for each in waiting if self.slower * each.seconds(self.peaks) < left] or list(waiting[:1])
        return list(takewhile(lambda each: each.is_small(self.peaks), fitting)) or fitting[:1]

    def _wave(self, wave: Sequence[Candidate]) -> int:
        """Trains runs at once; returns the number of failures."""
        failed = 0

        def ended(index: int, how: Ended) -> None:
            nonlocal failed
            each = wave[index]
            if how.status:
                failed += 1
                self.tell(f"{each.label}: {how.message or f'failed with exit status {how.status}'}")
                return
            predicted = each.seconds(self.peaks)
            self.slower = (self.slower + how.seconds / predicted) / 2  # recent runs count most
            self.tell(f"{each.label}: {readable(how.seconds)} ({readable(predicted)} at least): {each.job.summary}")

        jobs = [each.job.job for each in wave]
        train_in_workers(jobs, places(jobs, self.at_once), ended)
        return failed


def best_at_once(found: Sequence[Candidate], peaks: Peaks, seconds: float, tell: Callable[[str], None]) -> int:
    """The fastest number of small runs at once, tried with at least some seconds of the first one; 1 if there is
    none."""
    small = [each for each in found if each.is_small(peaks) and not each.reason]
    if not small:
        return 1
    first = small[0]
    share = seconds / first.cost.seconds(peaks, first.run.descent.precision)
    epochs = min(first.run.descent.epochs, max(3, round(share * first.run.descent.epochs)))
    typed = [each for each in first.job.typed if not each.startswith("epochs=")]
    best, fastest = 1, 0.0
    for number in AT_ONCE:
        if number > len(os.sched_getaffinity(0)):
            break
        took = _side_by_side([*typed, f"epochs={epochs}", f"measure={epochs}"], number)
        tell(f"{number} at once: {took:.3g} s for {epochs} epochs of {first.job.experiment}")
        if number / took >= GAIN * fastest:
            best, fastest = number, number / took
    return best


def _side_by_side(typed: Sequence[str], number: int) -> float:
    """Seconds of the longest of some trainings at once, without their starts."""
    with tempfile.TemporaryDirectory() as folder:
        jobs = [job_of([*typed, f"seed={n}", f"run_dir={Path(folder) / str(n)}"]) for n in range(number)]
        train_in_workers(jobs, places(jobs, number), lambda index, how: None)
        manifests = [read_manifest(job.directory) for job in jobs]
    took = [float(each["wall_seconds"]) for each in manifests if each is not None and each["state"] == "done"]
    if len(took) < number:
        raise UserError(f"{number - len(took)} of {number} trial runs failed: {' '.join(typed)}")
    return max(took)
