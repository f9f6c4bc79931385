"""Processes side by side: some commands, so many at a time."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

Process = subprocess.Popen[bytes]


def run_side_by_side(
    commands: Sequence[Sequence[str]],
    at_once: int,
    ended: Callable[[int, int, float, Sequence[int]], None],
    quiet: bool,
) -> None:
    """Run `ncrun` with each of the argument lists.

    ended(index, status, seconds, left) is called as each ends, left being the indices of those that have not. quiet:
    drop what they print on standard output. Leaves none behind: on Ctrl-C or SIGTERM they are terminated, and waited
    for while they write their checkpoints. So they are on SIGUSR2, Slurm's warning.
    """
    # Being stopped must not leave the trainings behind: leave through `finally`, as Ctrl-C does.
    stops = (signal.SIGTERM, signal.SIGUSR2)
    previous = [signal.signal(each, lambda number, frame: sys.exit(128 + number)) for each in stops]
    waiting = list(range(len(commands)))
    running: dict[int, tuple[Process, float]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                index = waiting.pop(0)
                running[index] = (_start(commands[index], quiet), time.perf_counter())
            index = _first_ended({each: process for each, (process, _) in running.items()})
            process, began = running.pop(index)
            ended(index, process.returncode, time.perf_counter() - began, [*waiting, *running])
    finally:
        for process, _ in running.values():  # they checkpoint and can be continued
            process.terminate()
        for process, _ in running.values():
            process.wait()
        for each, handler in zip(stops, previous, strict=True):
            signal.signal(each, handler)


def _start(arguments: Sequence[str], quiet: bool) -> Process:
    # In a session of its own, so that a Ctrl-C in the terminal reaches it once, from here, and not a second time.
    command = [sys.executable, "-m", "ncrun.cli", *arguments]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL if quiet else None, start_new_session=True)


def _first_ended(processes: dict[int, Process]) -> int:
    while True:
        for index, process in processes.items():
            if process.poll() is not None:
                return index
        time.sleep(0.2)
