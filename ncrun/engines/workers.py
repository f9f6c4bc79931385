"""Trains several jobs at once, in worker processes that live from job to job, so that each imports torch once.

Each worker is its own loky executor, with its own environment: a killed worker (such as out of memory) does not affect
the others.
"""

import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from joblib.externals.loky import ProcessPoolExecutor
from joblib.externals.loky.process_executor import BrokenProcessPool

from ncrun.config import extensions, folders
from ncrun.errors import UserError
from ncrun.records.lock import Held
from ncrun.run import Job

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)
# Seconds between a worker's checks that its parent still exists.
LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Ended:
    """How a job ended: exit status, seconds, the message of a refusal or of a worker's death, and whether it was
    refused because another process holds the run."""

    status: int
    seconds: float
    message: str | None = None
    held: bool = False


def train_in_workers(
    jobs: Sequence[Job],
    places: Sequence[Mapping[str, str]],
    ended: Callable[[int, Ended], None],
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Trains jobs, one at a time in each worker. places: the environment of each worker. meanwhile: called while they
    start; what it raises ends everything.

    ended(index, how) is called when a job ends. A job that a signal ends, ends all. At Ctrl-C, SIGTERM or SIGUSR2
    (Slurm's warning) every training writes its checkpoint; a second signal ends them at once. Then KeyboardInterrupt or
    SystemExit is raised, and no worker is left. The same holds for a bug in ncrun.
    """
    waiting = list(range(len(jobs)))
    running: dict[Future[tuple[int, float]], tuple[int, _Worker]] = {}
    workers = [_Worker(environment) for environment in places]
    with _Stopping(workers) as stopping:
        for worker in workers:
            worker.start()
        meanwhile()
        free = list(workers)
        while waiting or running:
            while waiting and free:
                worker, index = free.pop(), waiting.pop(0)
                running[worker.begin(jobs[index])] = (index, worker)
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                index, worker = running.pop(future)
                how = _outcome(future, worker)
                ended(index, how)
                free.append(worker)
                if how.status >= 128 and not stopping.asked:
                    waiting.clear()
                    stopping.ask()


def _outcome(future: Future[tuple[int, float]], worker: "_Worker") -> Ended:
    """The result of a job's training. Raises unexpected errors: bugs in ncrun."""
    try:
        return Ended(*future.result())
    except UserError as error:
        return Ended(2, time.monotonic() - worker.began, str(error), isinstance(error, Held))
    except SystemExit as error:  # a signal outside a training
        return Ended(int(error.code or 0), time.monotonic() - worker.began)
    except BrokenProcessPool as error:
        worker.close()
        by = next((name for name in signal.Signals.__members__ if f"{name}(" in str(error)), None)
        how = f"was killed ({by})" if by else "ended without a message"
        return Ended(
            1,
            time.monotonic() - worker.began,
            f"its process {how}; perhaps memory ran out; the same command continues it",
        )


class _Worker:
    """A process that trains one job after the other. It starts with its first job, and again after it was killed."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._executor: ProcessPoolExecutor | None = None
        self._last: Future[Any] | None = None
        self.began = 0.0

    def start(self) -> ProcessPoolExecutor:
        """Start its imports, which take seconds, unless they have begun."""
        if self._executor is None:
            self._executor = ProcessPoolExecutor(
                1, env=self._environment, initializer=_settle_in, initargs=(os.getpid(),)
            )
            self._last = self._executor.submit(_import)
        return self._executor

    def begin(self, job: Job) -> "Future[tuple[int, float]]":
        """Train a job in it; the future holds the exit status and the seconds."""
        files, own = [str(path) for path in extensions.loaded()], [str(path) for path in folders.OWN]
        what = (_train, files, own, pickle.dumps(_without_display(job)))
        self.began = time.monotonic()
        try:
            self._last = self.start().submit(*what)
        except BrokenProcessPool:  # it was killed while idle
            self.close()
            self._last = self.start().submit(*what)
        return self._last

    def signal(self, number: int) -> None:
        """Send the process a signal, if it exists."""
        for process in self._processes():
            if process.is_alive():
                os.kill(process.pid, number)

    def close(self) -> None:
        """Wait until the process has finished its job, and end it."""
        if self._executor is not None and self._last is not None:
            wait([self._last])
            self._executor.shutdown(wait=True, kill_workers=True)  # leaving by itself takes seconds
        self._executor = None

    def _processes(self) -> list[Any]:
        # There is no other way to learn its process id before its first result.
        return list((self._executor._processes or {}).values()) if self._executor is not None else []


class _Stopping:
    """However the block ends, no worker is left: they are asked to stop, and waited for."""

    def __init__(self, workers: Sequence[_Worker]) -> None:
        self._workers = workers
        self.asked = 0
        self._number = signal.SIGTERM

    def ask(self) -> None:
        """Make the workers write their checkpoints and stop; at the second call, at once."""
        self.asked += 1
        for worker in self._workers:
            worker.signal(self._number if self.asked < 3 else signal.SIGKILL)

    def __enter__(self) -> Self:
        self._previous = {each: signal.signal(each, self._receive) for each in STOPS}
        return self

    def _receive(self, number: int, frame: object) -> None:
        if self.asked:
            self.ask()
            return
        if number == signal.SIGTERM:
            # A signal to the whole process group, as from Slurm, has reached the workers already, and a second one
            # would end them at once.
            self._number = signal.SIGUSR2
        self.ask()
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            if error is not None and not self.asked:
                self.ask()
            for worker in self._workers:
                worker.close()
        finally:
            for each, previous in self._previous.items():
                signal.signal(each, previous)


# ---------------------------------------------------------------- in the worker

# Whether it was asked to stop before its job began.
_STOPPED = threading.Event()


def _settle_in(parent: int) -> None:
    """Only its parent stops a worker, and a worker does not outlive its parent."""
    os.setsid()  # Ctrl-C in a terminal reaches all its processes

    def stop(number: int, frame: object) -> None:
        if os.getppid() != parent:
            os._exit(128 + number)
        _STOPPED.set()
        sys.exit(128 + number)

    for each in STOPS:
        signal.signal(each, stop)
    end_with(parent)


def end_with(parent: int) -> None:
    """Sends this process SIGTERM when its parent is gone."""

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=look, daemon=True).start()


def _import() -> None:
    import ncrun.training.runs  # noqa: F401


def _train(files: Sequence[str], own_folders: Sequence[str], job: bytes) -> tuple[int, float]:
    """The exit status of a job's training, and its seconds. files: the user's own, which pickled objects may need."""
    if _STOPPED.is_set():
        sys.exit(128 + signal.SIGTERM)
    parent = os.getppid()
    extensions.load(files)
    for folder in own_folders:
        folders.add_folder(Path(folder))
    from ncrun.training.runs import train

    began = time.monotonic()
    status = train([pickle.loads(job)], quiet=True)
    if os.getppid() != parent:  # the parent is gone
        os._exit(status)
    return status, time.monotonic() - began


def _without_display(job: Job) -> Job:
    """Several live displays would overwrite each other and the parent's lines."""
    return replace(job, runs=tuple(replace(run, machine=replace(run.machine, progress=False)) for run in job.runs))
