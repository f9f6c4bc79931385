"""The place of a run's files: a folder, or a .zip archive of such folders, which is read without unpacking."""

import hashlib
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Protocol

from ncrun.errors import UserError

# In bytes; no file of a run is larger. In an archive the size is known before anything is inflated. A configuration is
# YAML, of which a megabyte takes several seconds.
LARGEST = 256 << 20
LARGEST_OF = {"config.yaml": 1 << 20}
# Bytes read at a time. zipfile inflates this many packed bytes at once (LZMA without a limit). They give at most some
# 30 MB, even if an archive states a wrong size.
PART = 4096
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA)
ENCRYPTED = 0x1
# Exceptions of zipfile for damaged archives.
UNREADABLE = (OSError, EOFError, ValueError, RuntimeError, OverflowError, zipfile.BadZipFile, zlib.error, struct.error)


class Place(Protocol):
    """Files by their names. path: for users; for a run in an archive, ARCHIVE.zip/FOLDER."""

    @property
    def path(self) -> Path: ...

    def read(self, name: str) -> bytes | None:
        """The file's bytes; None if there is none. Raises UserError if it is too large or damaged."""

    def part(self, name: str, size: int) -> bytes | None:
        """At most `size` bytes from a file's beginning, or with a negative size from its end; None if there is no file.
        Raises UserError as read does."""

    def sha256(self, name: str) -> str | None:
        """SHA-256 of the file's bytes, in hexadecimal; None if there is no file. Raises UserError, OSError."""


class Folder:
    """A folder on the disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, name: str) -> bytes | None:
        file = self.path / name
        try:
            if not file.is_file():
                return None
            _check_size(file, file.stat().st_size)
            return file.read_bytes()
        except OSError as error:
            raise UserError(f"{file}: cannot be read ({error.strerror})") from error

    def part(self, name: str, size: int) -> bytes | None:
        path = self.path / name
        try:
            if not path.is_file():
                return None
            with path.open("rb") as file:
                if size < 0:
                    file.seek(max(0, file.seek(0, os.SEEK_END) + size))
                return file.read(abs(size))
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from error

    def sha256(self, name: str) -> str | None:
        """For a file of any size."""
        if not (self.path / name).is_file():
            return None
        with (self.path / name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


class Archived:
    """A folder in an archive, which must stay open."""

    def __init__(self, archive: zipfile.ZipFile, file: Path, folder: PurePosixPath) -> None:
        self._archive, self._folder = archive, folder
        self.path = file / folder

    def read(self, name: str) -> bytes | None:
        path = self.path / name
        try:
            info = self._archive.getinfo(str(self._folder / name))
        except KeyError:
            return None
        _check_size(path, info.file_size)
        if info.flag_bits & ENCRYPTED:
            raise UserError(f"{path}: is encrypted; unpack the archive first")
        if info.compress_type not in METHODS:
            raise UserError(f"{path}: is compressed by a method that ncrun does not read; use deflate or LZMA")
        try:
            with self._archive.open(info) as file:
                parts = list(iter(lambda: file.read(PART), b""))
        except UNREADABLE as error:
            raise UserError(f"{path}: is damaged in its archive ({error})") from error
        content = b"".join(parts)
        if len(content) != info.file_size:
            raise UserError(f"{path}: is damaged in its archive (its size does not fit)")
        return content

    def part(self, name: str, size: int) -> bytes | None:
        return _part(self.read(name), size)

    def sha256(self, name: str) -> str | None:
        content = self.read(name)
        return None if content is None else hashlib.sha256(content).hexdigest()


class Kept:
    """Caches another place: every file is read once."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._contents: dict[str, bytes | None] = {}
        self.path = place.path

    def read(self, name: str) -> bytes | None:
        if name not in self._contents:
            self._contents[name] = self._place.read(name)
        return self._contents[name]

    def part(self, name: str, size: int) -> bytes | None:
        return _part(self.read(name), size)

    def sha256(self, name: str) -> str | None:
        content = self.read(name)
        return None if content is None else hashlib.sha256(content).hexdigest()


def _part(content: bytes | None, size: int) -> bytes | None:
    return None if content is None else content[size:] if size < 0 else content[:size]


def is_archive(path: Path) -> bool:
    return path.suffix == ".zip" and path.is_file()


def check_place(root: Path, option: str = "") -> None:
    """Raises UserError if a path is neither a folder nor an archive. option: the one that names it, such as --from."""
    if not root.is_dir() and not is_archive(root):
        raise UserError(f"{option and f'{option}='}{root}: no such folder or .zip archive")


def runs_below(root: Path) -> Iterator[Place]:
    """Every folder with a manifest.json below a folder or in an archive, in the order of their paths; archives below
    the folder are opened, too. Read a place before requesting the next one.

    Raises UserError for a damaged archive.
    """
    for path in holders_below(root):
        yield from places_of(path)


def holders_below(root: Path, unread: Callable[[OSError], object] | None = None) -> list[Path]:
    """Every folder with a manifest.json and every archive below a folder, in the order of their paths; links to folders
    are not followed. For an archive, itself. unread: called with the error of each unreadable folder."""
    if is_archive(root):
        return [root]
    found = []
    for folder, inside, files in os.walk(root, onerror=unread):
        inside[:] = [name for name in inside if not name.startswith(".lock.")]
        here = Path(folder)
        if "manifest.json" in files:
            found.append(here)
        found += [here / name for name in files if name.endswith(".zip") and (here / name).is_file()]
    return sorted(found)


def places_of(path: Path) -> Iterator[Place]:
    """The runs in an archive, or the folder itself. Raises UserError for a damaged archive."""
    if is_archive(path):
        yield from _runs_in(path)
    else:
        yield Folder(path)


@contextmanager
def one_place(path: Path) -> Iterator[Place]:
    """A context with the run directory that a user names, or the folder in an archive,
    "results/dang2023-cpu.zip/FOLDER". Raises UserError if there is no run, or several."""
    place = path.expanduser()
    if (place / "manifest.json").is_file():
        yield Folder(place)
        return
    archive = next((each for each in (place, *place.parents) if is_archive(each)), None)
    if archive is None and not place.is_dir():
        raise UserError(f"{path}: no such run directory")
    names = []
    for found in runs_below(archive or place):
        if found.path == place:
            yield found
            return
        names.append(str(found.path))
    if not names:
        raise UserError(f"{path}: is not a run directory, and holds no run")
    some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    if archive not in (None, place):
        raise UserError(f"{path}: no such run in the archive; it holds {some}")
    raise UserError(f"{path}: holds {len(names)} run{'s' * (len(names) > 1)}; name one of them: {some}")


def _runs_in(path: Path) -> Iterator[Place]:
    with _opened(path) as archive:
        names = {PurePosixPath(name) for name in archive.namelist()}
        if not all(str(name).isprintable() for name in names):
            raise UserError(f"{path}: is damaged, or not an archive of runs: it holds a name that cannot be printed")
        for folder in sorted(name.parent for name in names if name.name == "manifest.json"):
            yield Archived(archive, path, folder)


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UNREADABLE as error:
        raise UserError(f"{path}: is damaged, or not a .zip archive ({error})") from error
    with archive:
        yield archive


def _check_size(path: Path, size: int) -> None:
    largest = LARGEST_OF.get(path.name, LARGEST)
    if size > largest:
        raise UserError(f"{path}: has {size >> 20} MB; a file of a run has at most {largest >> 20} MB")
