"""One process at a time in a folder: on one host by the kernel's lock, across hosts by a sign of life.

On one host the kernel's lock (flock) says all, and a dead process holds none. Hosts that share a file system may not
share its locks: there the holder touches the lock file every few seconds, and one that has not done so for a minute is
dead. (Two hosts that take over from a dead one in the same instant are not kept apart.)
"""

import contextlib
import errno
import fcntl
import json
import os
import socket
import tempfile
import threading
from pathlib import Path
from typing import Any

from ncrun.errors import UserError

BEAT_SECONDS = 10.0
DEAD_AFTER_SECONDS = 60.0
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class LockLost(Exception):
    """This process slept for so long that another one, on another host, has taken its place."""


class Lock:
    """The file .lock of a folder. The folder is made if need be, and those above it, and then they are removed again if
    they are empty at the end."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / ".lock"
        self._file: int | None = None
        self._content = b""
        self._made: list[Path] = []
        self._ended = threading.Event()
        self._heart: threading.Thread | None = None

    @property
    def held(self) -> bool:
        return self._file is not None

    def take(self) -> None:
        """Raises UserError if another process holds it, or if the folder cannot be written."""
        folder = self.path.parent
        file = None
        try:
            self._made = [each for each in (folder, *folder.parents) if not each.exists()]
            folder.mkdir(parents=True, exist_ok=True)
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            self._refuse_if_held(file)
            self._content = json.dumps({"host": socket.gethostname(), "kernel": _kernel(), "pid": os.getpid()}).encode()
            os.ftruncate(file, 0)
            os.pwrite(file, self._content, 0)
        except (OSError, UserError) as error:
            if file is not None:
                os.close(file)
            if isinstance(error, UserError):
                raise
            raise UserError(f"run_dir={folder}: cannot be written ({error.strerror})") from error
        self._file = file
        self._ended.clear()
        self._heart = threading.Thread(target=self._beat, args=(file,), daemon=True)
        self._heart.start()

    def _refuse_if_held(self, file: int) -> None:
        known = True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise self._refusal(_holder(file)) from error
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            known = False
        # The last holder removes the file: a lock on a removed one would keep nobody out.
        if not self.path.exists() or not os.path.samestat(os.fstat(file), self.path.stat()):
            raise self._refusal({})
        holder = _holder(file)
        if holder and not (known and holder.get("kernel") == _kernel()):
            age = self._now() - os.fstat(file).st_mtime
            if age < DEAD_AFTER_SECONDS:
                raise self._refusal(holder, f"; it gave a sign of life {max(age, 0):.0f} s ago")

    def _refusal(self, holder: dict[str, Any], more: str = "") -> UserError:
        who = f" (process {holder['pid']} on {holder['host']})" if {"pid", "host"} <= holder.keys() else ""
        return UserError(f"run_dir={self.path.parent}: another process{who} is training this run{more}")

    def _now(self) -> float:
        """The time by the clock that also dates the lock file: a server's, where the folder is on one."""
        with tempfile.NamedTemporaryFile(dir=self.path.parent, prefix=".lock.", suffix=".0.tmp") as probe:
            return os.fstat(probe.fileno()).st_mtime

    def _beat(self, file: int) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(file)

    def check(self) -> None:
        """Raises LockLost if it is held and no longer ours."""
        if self._file is not None and not self._is_ours():
            raise LockLost(f"another process has taken over {self.path.parent} while this one did not run")

    def _is_ours(self) -> bool:
        assert self._file is not None
        try:
            same = os.path.samestat(os.fstat(self._file), self.path.stat())
        except OSError:
            return False
        return same and os.pread(self._file, len(self._content) + 1, 0) == self._content

    def release(self) -> None:
        """Let go of it, if it is held."""
        if self._file is None:
            return
        assert self._heart is not None
        self._ended.set()
        self._heart.join()
        if self._is_ours():
            with contextlib.suppress(OSError):
                self.path.unlink()  # while it is still held
        os.close(self._file)
        self._file = None
        with contextlib.suppress(OSError):  # a run that was refused at once leaves nothing
            for folder in self._made:
                folder.rmdir()


def _kernel() -> str:
    """The system whose locks count: several containers may share it, and hosts of one name do not."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return socket.gethostname()


def _holder(file: int) -> dict[str, Any]:
    """Who wrote the lock file; empty where nobody did."""
    try:
        content = json.loads(os.pread(file, 4096, 0))
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
