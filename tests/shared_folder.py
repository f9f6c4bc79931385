"""Two hosts that share a folder, in one process: their kernels know nothing of each other's locks; and a hook at every
call of the system, to let things happen at exactly that moment."""

import contextlib
import errno
import io
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ncrun.records import lock

# Through which records and locks reach the disk. (Path's methods call these.)
CALLS = ("open", "pwrite", "fsync", "rename", "replace", "link", "unlink", "mkdir", "rmdir", "listdir", "stat", "fstat")


def without_kernel_locks(patch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    patch.setattr("fcntl.flock", unknown)


@contextlib.contextmanager
def another_host(name: str = "elsewhere") -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "gethostname", lambda: name)
        patch.setattr(lock, "_kernel", lambda: f"kernel of {name}")
        yield


def fall_silent(folder: Path) -> None:
    """Let whoever holds a folder have given no sign of life for longer than counts."""
    then = time.time() - lock.DEAD_AFTER_SECONDS - 1
    for file in (*folder.glob(".lock"), *folder.glob(".lock.*/holder")):
        os.utime(file, (then, then))


class Hook:
    """Lets something happen before the n-th call of the system from now on; what it does itself is not counted."""

    def __init__(self, number: int, act: Callable[[], object]) -> None:
        self.left, self.act = number, act
        self.name = ""
        self.result: Any = None
        self.struck = self.busy = False

    def at(self, name: str) -> None:
        if self.busy or self.struck:
            return
        if self.left == 0:
            self.struck = self.busy = True
            self.name = name
            try:
                self.result = self.act()
            finally:
                self.busy = False
        self.left -= 1


@contextlib.contextmanager
def at_operation(number: int, act: Callable[[], object]) -> Iterator[Hook]:
    """act() happens before the n-th call (from 0) that is made inside."""
    hook = Hook(number, act)

    def hooked(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def routed(*arguments: Any, **more: Any) -> Any:
            hook.at(name)
            return call(*arguments, **more)

        return routed

    class HookedFile(io.FileIO):
        def write(self, data: Any) -> int:
            hook.at("write")
            return super().write(data)

    opened = Path.open

    def hooked_open(self: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
        hook.at("open")
        return HookedFile(self, mode) if mode in ("wb", "ab") else opened(self, mode, *rest, **more)

    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, hooked(name, getattr(os, name)))
        patch.setattr(Path, "open", hooked_open)
        yield hook
