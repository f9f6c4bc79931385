"""The digest of a user's own data, kept by what the file system says of their files: reading them again takes long.

A remembered digest is believed only while every file has the same name, size, inode and times of modification and of
change, to the last digit. That a file system shows a change by these is sure only once its clock has gone on: two
changes within one tick of it leave the same times, and what is written to a mapped page again before the page has
reached the disk leaves them too. So a digest is remembered only if its bytes were read when these same times had
already been seen a minute before. Git's rule for files as young as its index is of this kind; this one compares no
clock of a file server with the one here.
"""

import hashlib
import os
import platform
import re
import stat
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ncrun import json_object
from ncrun.data import cache

# Longer than any clock's tick (FAT has the coarsest, 2 s) and than Linux leaves changed pages in memory (35 s).
SETTLED_NS = 60 * 10**9
# What is read sooner is read every time.
WORTH_S = 1.0
# Of the way in which digests are made: another one must not answer for them.
VERSION = 1


@dataclass(frozen=True)
class _Record:
    """stamps: the file system's entries of all files. seen: when they were first seen, by the clock of host. digest:
    None where the bytes have not been read long enough after that."""

    stamps: str
    seen: int
    host: str
    digest: str | None


def digest_of(
    place: Path, method: str, files: Iterable[Path], read_bytes: Callable[[], str], believe: bool = True
) -> str:
    """The digest of the files' content, remembered or read.

    place: the data's absolute path. method: what is made a digest of. files: all that its bytes come from, in a fixed
    order. read_bytes: makes it, and raises UserError. believe: whether a remembered one will do.
    """
    asked, stamps, looked = time.time_ns(), _stamps(files), time.time_ns()
    if stamps is None:  # read_bytes says why
        return read_bytes()
    file = cache.cache_file("digests", hashlib.sha256(os.fsencode(f"{VERSION}\0{method}\0{place}")).hexdigest())
    known = _known(file, stamps, asked)
    if believe and known is not None and known.digest is not None:
        return known.digest
    began = time.perf_counter()
    digest = read_bytes()
    if known is not None or time.perf_counter() - began >= WORTH_S:
        seen = known.seen if known is not None and known.host == platform.node() else looked
        found = _Record(stamps, seen, platform.node(), digest if asked - seen >= SETTLED_NS else None)
        cache.write(file, asdict(found))
    return digest


def _known(file: Path, stamps: str, asked: int) -> _Record | None:
    """What is remembered of files that nothing has changed about since. None where the clock was set back since."""
    match json_object.read(file):
        case {"stamps": str(then), "seen": int(seen), "host": str(host), "digest": None | str() as digest}:
            sound = digest is None or re.fullmatch("[0-9a-f]{64}", digest)
            return _Record(then, seen, host, digest) if sound and then == stamps and seen <= asked else None
    return None


def _stamps(files: Iterable[Path]) -> str | None:
    """Of all files in one. None where one is no file, or cannot be looked at.

    Each is opened, because that makes a network file system ask its server.
    """
    content = hashlib.sha256()
    try:
        for path in files:
            number = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # which a pipe would wait without
            try:
                found = os.fstat(number)
            finally:
                os.close(number)
            if not stat.S_ISREG(found.st_mode):
                return None
            content.update(os.fsencode(path) + b"\0" + _said(found))
    except OSError:
        return None
    return content.hexdigest()


def _said(found: Any) -> bytes:
    return f"{found.st_size} {found.st_ino} {found.st_mtime_ns} {found.st_ctime_ns}\0".encode()
