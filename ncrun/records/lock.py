"""One process at a time in a folder, on one host or on several that share it.

The holder owns the directory .lock.N in the folder. It is made aside, with a file in it, and renamed into place. Only
one process can do that, because a directory cannot be renamed over one that is not empty. N grows by one when the
former holder is dead. A process that finds another living one in a listing after its rename does not hold the folder:
of two that see different numbers at least one steps back.

On one host the kernel knows who lives (flock; a dead process holds none). Hosts that share a file system may not share
its locks: there the holder touches its file every few seconds, and counts as dead after a minute without that. But it
may only have slept. So before a new holder reads or writes anything, it renames the old holder's directory away. After
that no write of the old holder can reach the folder: a holder either renames files out of its own directory, which then
fails, or appends to a file that it opened while it held the folder, and that the new holder replaces. A late write does
no harm, and the next one is noticed (LockLost).

The file system must have atomic renames, must not rename a directory over a non-empty one, and must refresh its cache
within a minute (NFS with its usual settings). Hard links and flock are not required.
"""

import contextlib
import errno
import fcntl
import json
import os
import random
import re
import secrets
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ncrun.errors import UserError

BEAT_SECONDS = 10.0
DEAD_AFTER_SECONDS = 60.0
# How often two processes with different numbers try again, and the longest pause before that.
ATTEMPTS = 20
PAUSE_SECONDS = 0.1
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
# The errors of a rename if another process was first.
TOO_LATE = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT)
# A lock (in older versions the bare name), a lock that is being made, or one that is being removed.
LOCK = re.compile(r"\.lock(\.\d+)?")
UNPLACED = re.compile(r"\.lock\.(new|gone)\.\d+")


class Held(UserError):
    """Another process holds the run."""


class LockLost(Exception):
    """This process slept for so long that a process on another host has taken over."""


class Lock:
    """The lock of a folder. Missing folders are made, and removed again if they are empty at the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._own: Path | None = None
        self._file = -1
        self._made: list[Path] = []
        self._ended = threading.Event()
        self._heart: threading.Thread | None = None

    @property
    def held(self) -> bool:
        return self._own is not None

    @property
    def aside(self) -> Path | None:
        """The holder's own directory, out of which its files are renamed. None if the lock is not held."""
        return self._own

    def take(self) -> None:
        """Takes the lock. Raises UserError if another process holds it, or if the folder cannot be written."""
        folder = self._folder
        try:
            self._made = [each for each in (folder, *folder.parents) if not each.exists()]
            self._own, self._file = self._claim()
        except OSError as error:
            raise UserError(f"run_dir={folder}: cannot be written ({error.strerror})") from error
        finally:
            if self._own is None:
                self._remove_made()
        self._ended.clear()
        self._heart = threading.Thread(target=self._beat, args=(self._file,), daemon=True)
        self._heart.start()

    def _claim(self) -> tuple[Path, int]:
        """This process' lock directory and its open file."""
        for attempt in range(ATTEMPTS):
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                dead = self._dead()
                own = self._folder / f".lock.{1 + max(map(_number, dead), default=0)}"
                file = self._place(own)
            except OSError as error:
                # Another process was first, or removed the empty folder: try again.
                if error.errno not in TOO_LATE:
                    raise
                continue
            if self._is_alone(own, file, dead):
                return own, file
            time.sleep(random.uniform(0, PAUSE_SECONDS * (1 + attempt)))
        raise self._refusal({})

    def _is_alone(self, own: Path, file: int, dead: Mapping[Path, int]) -> bool:
        """Whether the new lock directory makes this process the holder. If so, dead locks are removed; if not, it is
        given up."""
        alone = False
        try:
            if all(path == own or dead.get(path) == inode for path, inode in _locks(self._folder).items()):
                for path in dead:
                    _discard(path)
                self._sweep()
                alone = True
        finally:
            if not alone:
                os.close(file)
                with contextlib.suppress(OSError):
                    _discard(own)
        return alone

    def _place(self, own: Path) -> int:
        """Makes this process' directory, with a locked file that identifies it, and renames it into place. Returns the
        open file."""
        new = self._folder / f".lock.new.{secrets.randbits(64)}"
        new.mkdir()
        file = os.open(new / "holder", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _is_free(file, fcntl.LOCK_EX)
            who = {"host": socket.gethostname(), "kernel": _kernel(), "pid": os.getpid()}
            os.pwrite(file, json.dumps(who).encode(), 0)
            os.fsync(file)  # another host must see it together with the directory
            os.rename(new, own)
        except BaseException:
            os.close(file)
            shutil.rmtree(new, ignore_errors=True)
            raise
        return file

    def _dead(self) -> dict[Path, int]:
        """The locks of dead holders. Raises UserError if a holder is alive."""
        found = _locks(self._folder)
        for path, inode in found.items():
            if inode:
                self._refuse_if_living(path)
        return found

    def _refuse_if_living(self, path: Path) -> None:
        signs = _signs_of_life(path, self._now)
        if signs is not None:
            holder, age = signs
            raise self._refusal(holder, "" if age is None else f"; its last sign of life was {max(age, 0):.0f} s ago")

    def _refusal(self, holder: dict[str, Any], more: str = "") -> "Held":
        who = f" (process {holder['pid']} on {holder['host']})" if {"pid", "host"} <= holder.keys() else ""
        return Held(f"run_dir={self._folder}: another process{who} is training this run{more}")

    def _now(self) -> float:
        """The time by the clock that dates the lock file (a server's, if the folder is on one)."""
        with tempfile.NamedTemporaryFile(dir=self._folder, prefix=".lock.", suffix=".0.tmp") as probe:
            return os.fstat(probe.fileno()).st_mtime

    def _sweep(self) -> None:
        """Removes files of processes that died while they took or released the lock."""
        for name in os.listdir(self._folder):
            if UNPLACED.fullmatch(name):
                shutil.rmtree(self._folder / name, ignore_errors=True)

    def _beat(self, file: int) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(file)

    def check(self) -> None:
        """Raises LockLost if another process has taken the lock."""
        if self._own is not None and not self._is_ours():
            raise LockLost(f"another process has taken over {self._folder} while this one did not run")

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """A block of writes by the holder: raises LockLost before and after it, and instead of an error that a lost
        lock caused."""
        self.check()
        try:
            yield
        except OSError:
            self.check()
            raise
        self.check()

    def _is_ours(self) -> bool:
        assert self._own is not None
        try:
            return os.path.samestat(os.fstat(self._file), _holder_file(self._own).stat())
        except OSError:
            return False

    def release(self) -> None:
        """Releases the lock, if it is held."""
        if self._own is None:
            return
        self._ended.set()
        if self._heart is not None and self._heart.is_alive():  # after a Ctrl-C at the very beginning
            self._heart.join()
        if self._is_ours():
            with contextlib.suppress(OSError):
                _discard(self._own)  # while it is still locked
        os.close(self._file)
        self._own = None
        self._remove_made()

    def _remove_made(self) -> None:
        """A run that was refused at once leaves no files."""
        with contextlib.suppress(OSError):
            for folder in self._made:
                folder.rmdir()


def holder_of(folder: Path) -> dict[str, Any] | None:
    """`pid` and `host` of the holder, as far as its lock holds them; None if there is no holder. Nothing is written, so
    the age of another host's heartbeat is by this host's clock. Raises OSError."""
    for path, inode in _locks(folder).items():
        signs = None
        if inode:
            with contextlib.suppress(FileNotFoundError):  # just released
                signs = _signs_of_life(path, time.time)
        if signs is not None:
            return signs[0]
    return None


def is_lock(path: Path) -> bool:
    """Whether a file or folder is a lock, or one that is being made or removed."""
    return bool(LOCK.fullmatch(path.name) or UNPLACED.fullmatch(path.name))


def _locks(folder: Path) -> dict[Path, int]:
    """Every lock in a folder, and the inode of its holder's file (0: none)."""
    found = {}
    for name in os.listdir(folder):
        if LOCK.fullmatch(name):
            path, inode = folder / name, 0
            with contextlib.suppress(OSError):
                inode = _holder_file(path).stat().st_ino
            if inode or path.exists():
                found[path] = inode
    return found


def _signs_of_life(path: Path, now: Callable[[], float]) -> tuple[dict[str, Any], float | None] | None:
    """A lock's holder, and the seconds since its last sign of life (None if the kernel says that it lives). None if it
    is dead. now: by the clock that dates the lock file."""
    file = os.open(_holder_file(path), os.O_RDONLY)
    try:
        # Shared, so that readers do not block each other.
        holder, free = _holder(file), _is_free(file, fcntl.LOCK_SH)
        if free is False:
            return holder, None
        if holder and not (free and holder.get("kernel") == _kernel()):
            age = now() - os.fstat(file).st_mtime
            if age < DEAD_AFTER_SECONDS:
                return holder, age
        return None
    finally:
        os.close(file)


def _discard(path: Path) -> None:
    """Removes a lock, with its content, atomically."""
    gone = path.with_name(f".lock.gone.{secrets.randbits(64)}")
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, gone)
        if gone.is_dir():
            shutil.rmtree(gone, ignore_errors=True)
        else:
            gone.unlink()


def _holder_file(path: Path) -> Path:
    """The file that the holder keeps open and touches. In older versions it was the lock itself."""
    return path if path.name == ".lock" else path / "holder"


def _number(path: Path) -> int:
    return 0 if path.name == ".lock" else int(path.suffix[1:])


def _is_free(file: int, how: int) -> bool | None:
    """Locks an open file unless another process holds it. None if the file system has no locks."""
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return None
    return True


def _kernel() -> str:
    """The system whose kernel holds the locks: containers may share one, and hosts with the same name do not."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return socket.gethostname()


def _holder(file: int) -> dict[str, Any]:
    """The writer of the lock file; empty if there is none."""
    try:
        content = json.loads(os.pread(file, 4096, 0))
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
