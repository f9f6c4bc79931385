"""Trainings as processes, and the faults inside them; for torture.py."""

import contextlib
import errno
import fcntl
import io
import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ncrun.config.grid import expand
from ncrun.config.planning import job_of
from ncrun.engines.sweeps import train_sweep
from ncrun.errors import UserError
from ncrun.records import lock
from ncrun.run import Job
from ncrun.training import ending, loop

NETWORK = "counts=[8,8,8,6,6,6,4,4,4,3] model.width=10 epochs=10 threads=1"
FREE = "counts=[6,4,2] model.width=5 decay.weight=2e-2 decay.feature=1e-2"
SCENARIOS = {
    "sgd": f"{NETWORK} model.depth=1 optimizer=sgd optimizer.lr=0.02 batch_size=9",
    "momentum, BatchNorm": f"{NETWORK} model.depth=2 model.batch_norm=true optimizer=sgd optimizer.lr=0.02"
    " optimizer.momentum=0.9 batch_size=16 schedule.drops=[0.5]",
    "BatchNorm fixed, finish": f"{NETWORK} model.depth=1 model.batch_norm=true batch_size=16 freeze_norm=0.6"
    " finish=lbfgs finish_iterations=9 snapshots=9",
    "adam, random labels": f"{NETWORK} model.depth=1 batch_size=13 random_labels=0.5 loss=ce head.depth=2",
    "adam, augmented": f"{NETWORK} model.depth=1 batch_size=16 augment=[crop,flip]",
    "adam, full batch": f"{NETWORK} model.depth=1 batch_size=full epochs=40 measure=7",
    "deep linear, float64": f"{NETWORK} model=deep_linear batch_size=20 dtype=float64 head.bias=true head.depth=3",
    "ResNet18": "model=resnet18 model.width=0.05 counts=[3,3,3,3,3,3,2,2,2,2] epochs=3 batch_size=7 threads=1",
    "free, momentum": f"{FREE} model=ufm head.depth=2 optimizer=sgd optimizer.lr=0.3 optimizer.momentum=0.9 epochs=60",
    "free, adam": f"{FREE} model=ufm_relu optimizer=adam optimizer.lr=0.05 epochs=60",
    "free, restarts": f"{FREE} model=dufm optimizer=sgd optimizer.lr=0.3 restarts=3 epochs=24",
    "free, together": f"-m {FREE} model=ufm optimizer=sgd optimizer.lr=0.3 optimizer.momentum=0.9 epochs=24 seed=0,1,2"
    " together=true run_dir='DIRECTORY/seed-${seed}'",
    "free, one diverges": f"-m {FREE} model=ufm loss=mse optimizer=sgd optimizer.lr=0.3,1e6 epochs=16 seed=0,1"
    " together=true run_dir='DIRECTORY/seed-${seed}-${optimizer.lr}'",
    "free, L-BFGS": f"{FREE} model=ufm_relu",
    "free, L-BFGS path": f"{FREE} model=ufm path=[1,2,3,2]",
}
# The exit status of a complete run, if it is not 0.
COMPLETE = {"free, one diverges": 1}
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
LONGEST_S = 120.0


Jobs = Sequence[tuple[Sequence[str], Job]]


def jobs_of(scenario: str, directory: Path) -> Jobs:
    """The jobs of `ncrun train` for a scenario in this folder. They are composed once for all its trainings, because
    that takes longer than most trainings; it touches no file."""
    typed = SCENARIOS[scenario].replace("DIRECTORY", str(directory)).split()
    if typed[0] == "-m":
        return [(each, job_of(each)) for each in expand(typed[1:])]
    return [(typed, job_of([*typed, f"run_dir={directory}"]))]


class Deviation(Exception):
    """A result is wrong; the message says which."""


def told(jobs: Jobs) -> int:
    """Trains like the command, and prints the same refusals."""
    try:
        return train_sweep(jobs)
    except UserError as error:
        print(f"ncrun: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def live_on(host: str) -> None:
    """Makes this process look like one on another host."""

    def unknown(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    fcntl.flock = unknown
    lock._kernel = lambda: host
    socket.gethostname = lambda: host


def fall_silent(directory: Path) -> None:
    """Makes the last sign of life of a folder's holders too old to count."""
    then = time.time() - lock.DEAD_AFTER_SECONDS - 1
    for file in directory.rglob(".lock.*/holder"):
        with contextlib.suppress(FileNotFoundError):
            os.utime(file, (then, then))


class Fault:
    """At the n-th file operation, in a write after half of it: "kill": SIGKILL; "sleep": SIGSTOP; "full": the disk
    is full from then on; "broken": one error of the device; "none": only counts."""

    def __init__(self, kind: str, at: int = 0) -> None:
        self.kind = kind
        self.left = at
        self.seen = 0

    def due(self) -> bool:
        self.left -= 1
        self.seen += 1
        return self.left == 0 or (self.left < 0 and self.kind == "full")

    def strike(self, takes_space: bool) -> None:
        if self.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kind == "sleep":
            os.kill(os.getpid(), signal.SIGSTOP)
            return
        if self.kind == "broken":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if takes_space:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def install(fault: Fault) -> None:
    """Routes this process' file operations through a fault."""
    opened = Path.open

    class Watched(io.FileIO):
        def write(self, data: Any) -> int:
            half = len(data) // 2
            if not fault.due():
                return super().write(data)
            super().write(memoryview(data)[:half])
            fault.strike(takes_space=True)
            return half + super().write(memoryview(data)[half:])

    def watched_open(self: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
        if mode not in ("wb", "ab"):
            return opened(self, mode, *rest, **more)
        if fault.due():
            fault.strike(takes_space=mode == "wb")
        return Watched(self, mode)

    def watched(call: Callable[..., Any]) -> Callable[..., Any]:
        def routed(*arguments: Any, **more: Any) -> Any:
            if fault.due():
                fault.strike(takes_space=False)
            return call(*arguments, **more)

        return routed

    Path.open = watched_open  # type: ignore[method-assign]
    for name in ("replace", "rename", "link", "fsync", "truncate", "unlink"):
        setattr(os, name, watched(getattr(os, name)))


@dataclass
class Ended:
    """How a process ended: its exit status (negative: the signal that killed it) and what it said on stderr."""

    status: int
    said: str


class Training:
    """`ncrun train` in a separate process. every: seconds between checkpoints. host: the name of a host that sees the
    files of others, but not their kernels' locks; default: all are on one host."""

    def __init__(
        self, jobs: Jobs, directory: Path, every: float, fault: Fault | None = None, host: str | None = None
    ) -> None:
        self.directory = directory
        self._log = directory.with_name(f"{directory.name}.{time.monotonic_ns()}.log")
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._train(jobs, every, fault, host)

    def _train(self, jobs: Jobs, every: float, fault: Fault | None, host: str | None) -> None:
        status = 70
        try:
            with self._log.open("wb") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            for each in (*STOPS, signal.SIGCHLD):
                signal.signal(each, signal.default_int_handler if each == signal.SIGINT else signal.SIG_DFL)
            loop.CHECKPOINT_SECONDS = every
            ending.draw = lambda records: True  # drawing takes two seconds and is not tested here
            if host is not None:
                live_on(host)
            if fault is not None:
                install(fault)
            status = told(jobs)
            if fault is not None and fault.kind == "none":
                print(f"operations: {fault.seen}")
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def wait_until_it_holds_its_folder(self) -> bool:
        """False if it ended before."""
        began = time.monotonic()
        while not self._holds():
            if self._has_ended():
                return False
            if time.monotonic() - began > LONGEST_S:
                self.kill()
                raise Deviation("hangs")
            time.sleep(0.001)
        return True

    def _holds(self) -> bool:
        for file in (*self.directory.glob(".lock.*/holder"), *self.directory.glob("seed-*/.lock.*/holder")):
            with contextlib.suppress(OSError, ValueError):
                if json.loads(file.read_bytes())["pid"] == self.pid:
                    return True
        return False

    def wait_until_it_sleeps(self) -> bool:
        """Waits for the SIGSTOP. False if it ended before."""
        began = time.monotonic()
        while time.monotonic() - began < LONGEST_S:
            if self._has_ended():
                return False
            if os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None:
                return True
            time.sleep(0.001)
        self.kill()
        raise Deviation("hangs")

    def _has_ended(self) -> bool:
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)

    def end(self) -> Ended:
        """Waits for its end. Raises Deviation if it hangs or prints a traceback."""
        began = time.monotonic()
        while not self._has_ended():
            if time.monotonic() - began > LONGEST_S:
                self.kill()
                os.waitpid(self.pid, 0)
                raise Deviation("hangs")
            time.sleep(0.001)
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        said = self._log.read_text(errors="replace")
        self._log.unlink()
        if "Traceback" in said:
            raise Deviation(f"a traceback:\n{said}")
        return Ended(status, said)
