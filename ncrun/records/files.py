"""Files that are replaced as a whole, and files with a checksum against damage."""

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

# Temporary files of a process that was killed while writing.
TEMPORARY = re.compile(r"\..+\.\d+\.tmp")
# A checked file ends with these bytes and the SHA-256 of everything before them.
SEAL = b"\nncrun sha256 "
SEAL_SIZE = len(SEAL) + hashlib.sha256().digest_size


class DamagedFile(Exception):
    """The file was changed since it was written; the message says how."""


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Adds the file's name to an OSError; those of a full disk have none."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_aside(
    path: Path, write: Callable[[IO[bytes]], object], kept: Path | None = None, aside: Path | None = None
) -> None:
    """Writes to a temporary file, flushes it to the disk, and renames it over `path`.

    kept: a second name for the old file; `path` always exists. aside: the folder of the temporary file, on the same
    file system; default: that of `path`. If it is gone, nothing is changed.
    """
    folder, ending = (path.parent, f"{os.getpid()}.tmp") if aside is None else (aside, "tmp")
    temporary, old = folder / f".{path.name}.{ending}", folder / f".{path.name}.old.{ending}"
    with naming(path):
        try:
            with temporary.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            if kept is not None and path.exists():
                _name_too(path, old)
                old.replace(kept)
            temporary.replace(path)
        finally:
            for each in (temporary, old):
                with contextlib.suppress(OSError):  # the first error counts, not one in this clean-up
                    each.unlink(missing_ok=True)
        _flush_folder(path.parent)


def _name_too(path: Path, other: Path) -> None:
    """Gives a file a second name, or copies it if the file system has no hard links."""
    other.unlink(missing_ok=True)
    try:
        os.link(path, other)
    except OSError:
        shutil.copyfile(path, other)


def _flush_folder(folder: Path) -> None:
    """Flushes a rename to the disk; some file systems do not support that."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Writes a text file aside and renames it over `path`."""
    write_aside(path, lambda file: file.write(text.encode()))


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file aside and renames it over `path`. Raises ValueError for a number that JSON cannot hold."""
    write_text(path, as_json(content))


def as_json(content: Any) -> str:
    """The text of a JSON file. Raises ValueError for a number that JSON cannot hold."""
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def write_sealed(path: Path, content: bytes | memoryview, kept: Path | None = None, aside: Path | None = None) -> str:
    """Writes bytes and their checksum aside and renames the file over `path`, the old one to `kept`. Returns the
    SHA-256 of the whole file, in hexadecimal."""
    found = hashlib.sha256(content)
    seal = SEAL + found.digest()
    found.update(seal)

    def write(file: IO[bytes]) -> None:
        file.write(content)
        file.write(seal)

    write_aside(path, write, kept, aside)
    return found.hexdigest()


def seal_of(path: Path) -> str:
    """The SHA-256, in hexadecimal, that `write_sealed` appended. The content is not checked.

    Raises DamagedFile if it is missing, and OSError if there is no file.
    """
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - SEAL_SIZE))
        seal = file.read()
    if seal[: len(SEAL)] != SEAL:
        raise DamagedFile("its checksum is missing")
    return seal[len(SEAL) :].hex()


def read_sealed(path: Path) -> memoryview:
    """The bytes given to `write_sealed`. Raises DamagedFile if they were changed, and OSError if there is no file."""
    whole = memoryview(path.read_bytes())
    content, seal = whole[:-SEAL_SIZE], whole[-SEAL_SIZE:]
    if seal[: len(SEAL)] != SEAL:
        raise DamagedFile("its checksum is missing")
    if seal[len(SEAL) :] != hashlib.sha256(content).digest():
        raise DamagedFile("its checksum does not fit")
    return content
