"""Several processes that want one folder in the same instant: of hosts that do not see each other's locks, call by call
in every order that chance finds, and of one host, as real processes."""

import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from shared_folder import CALLS, another_host, fall_silent, without_kernel_locks

from ncrun.errors import UserError
from ncrun.records import lock
from ncrun.records.lock import Lock

Patch = pytest.MonkeyPatch


class Turns:
    """Threads that go on one at a time, one call of the system after the other, in an order drawn from a seed."""

    def __init__(self, seed: int, works: list[Callable[[], None]]) -> None:
        self._random = random.Random(seed)
        self._works = works
        self._turns: dict[int, threading.Semaphore] = {}
        self._back = threading.Semaphore(0)
        self._over: set[int] = set()

    def at(self) -> None:
        """A call of the system: give the turn back, and wait for the next one."""
        mine = self._turns.get(threading.get_ident())
        if mine is not None:
            self._back.release()
            mine.acquire()

    def _play(self, number: int) -> None:
        mine = self._turns[threading.get_ident()] = threading.Semaphore(0)
        self._back.release()
        mine.acquire()
        try:
            self._works[number]()
        finally:
            self._over.add(threading.get_ident())
            del self._turns[threading.get_ident()]
            self._back.release()

    def play(self) -> None:
        threads = [threading.Thread(target=self._play, args=(number,)) for number in range(len(self._works))]
        for thread in threads:
            thread.start()
            self._back.acquire()
        while self._turns:
            self._random.choice(list(self._turns.values())).release()
            self._back.acquire()
        for thread in threads:
            thread.join()


class Hosts:
    """Each takes the folder, keeps it for a while, and lets go. At no time may two have it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inside: list[str] = []
        self.had: list[str] = []
        self.refused: list[str] = []
        self.both: list[list[str]] = []

    def host(self, name: str, wait: Callable[[], None]) -> Callable[[], None]:
        def work() -> None:
            mine = Lock(self.folder)
            try:
                mine.take()
            except UserError:
                self.refused.append(name)
                return
            self.inside.append(name)
            self.had.append(name)
            if len(self.inside) > 1:
                self.both.append(list(self.inside))
            for _ in range(5):
                wait()
            mine.check()
            self.inside.remove(name)
            mine.release()

        return work


def in_turns(patch: Patch, turns: Turns) -> None:
    def waiting(call: Callable[..., Any]) -> Callable[..., Any]:
        def routed(*arguments: Any, **more: Any) -> Any:
            turns.at()
            return call(*arguments, **more)

        return routed

    for name in CALLS:
        patch.setattr(os, name, waiting(getattr(os, name)))
    patch.setattr(lock.time, "sleep", lambda seconds: None)


@pytest.mark.parametrize("before", ["nothing", "dead", "older version's"])
def test_hosts_that_take_a_folder_in_the_same_instant(before: str, tmp_path: Path, monkeypatch: Patch) -> None:
    without_kernel_locks(monkeypatch)
    monkeypatch.setattr(lock, "_kernel", lambda: threading.current_thread().name)
    shared = 0
    for seed in range(40):
        folder = tmp_path / str(seed)
        folder.mkdir()
        dead = Lock(folder)
        if before == "dead":
            with another_host():
                dead.take()
        elif before != "nothing":
            (folder / ".lock").write_text('{"host": "elsewhere", "kernel": "another", "pid": 4711}')
        fall_silent(folder)
        hosts = Hosts(folder)
        works: list[Callable[[], None]] = []
        turns = Turns(seed, works)
        works.extend(hosts.host(name, turns.at) for name in "abc"[: 2 + seed % 2])
        with monkeypatch.context() as patch:
            in_turns(patch, turns)
            turns.play()
        dead.release()
        assert hosts.both == [], f"seed {seed}"
        assert hosts.had, f"seed {seed}: all were refused"
        assert len(hosts.had) + len(hosts.refused) == len(works)
        shared += len(hosts.had) == 1
        assert list(folder.iterdir()) == []
    assert shared > 0  # and not always one after the other


CROWD = """
import os, signal, sys, time
from pathlib import Path
from ncrun.errors import UserError
from ncrun.records.lock import Lock
folder, note = Path(sys.argv[1]), os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
killed = os.fork()
if killed == 0:
    Lock(folder).take()
    os.kill(os.getpid(), signal.SIGKILL)
os.waitpid(killed, 0)
ready, go = os.pipe()
children = []
for _ in range(50):
    if (child := os.fork()) == 0:
        os.close(go)
        os.read(ready, 1)  # until the other end is closed: all start at once
        lock, status = Lock(folder), 0
        try:
            lock.take()
            os.write(note, b"in %d\\n" % os.getpid())
            time.sleep(0.3)
            lock.check()
            os.write(note, b"out %d\\n" % os.getpid())
            lock.release()
        except UserError as error:
            status = 2 if "another process" in str(error) else 3
        except BaseException:
            status = 4
        os._exit(status)
    children.append(child)
os.close(go)
print(*(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""


def test_fifty_processes_that_start_at_once_beside_a_killed_one(tmp_path: Path) -> None:
    note = tmp_path / "note"
    done = subprocess.run(
        [sys.executable, "-c", CROWD, str(tmp_path / "run"), str(note)], capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    statuses = [int(status) for status in done.stdout.split()]
    assert len(statuses) == 50
    assert set(statuses) == {0, 2}
    lines = note.read_text().splitlines()
    assert len(lines) == 2 * statuses.count(0)
    for entered, left in zip(lines[::2], lines[1::2], strict=True):  # one is out before another one is in
        assert (entered.split()[0], left.split()) == ("in", ["out", entered.split()[1]])
    assert list((tmp_path / "run").iterdir()) == []
