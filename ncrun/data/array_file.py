"""Arrays in a stranger's .npz file: what its headers say is held against its size before anything is unpacked.

The one reader of arrays that others have written: of a data set, and of a network that was trained elsewhere.
"""

import ast
import math
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ncrun.memory import machine_memory

MAGIC = b"\x93NUMPY"
LENGTHS = {1: "<H", 2: "<I", 3: "<I"}  # of a header, by the version of the format
LONGEST_HEADER = 10_000
MOST_ARRAYS = 1000
ENCRYPTED = 0x1
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
PART = 1 << 20
# Of a member of a zip archive: the bytes of the header before it, and where in that stand the lengths of its name and
# of what else follows.
LOCAL_HEADER, LOCAL_LENGTHS = 30, 26
# What is larger, and has been packed to a tenth of a thousandth part, is no data.
SMALL = 1 << 28
LARGEST_RATIO = 100
DAMAGED = "is damaged, or no .npz file as numpy.savez writes it"
# What Python's zipfile and numpy meet in damaged files.
UNREADABLE = (EOFError, ValueError, RuntimeError, OverflowError, zipfile.BadZipFile, zlib.error, struct.error)
NO_LITERAL = (SyntaxError, ValueError, TypeError, OverflowError, MemoryError, RecursionError)


class NoArrays(Exception):
    """The file cannot be read, or not all of it; the message says why, in words that follow its name."""


@dataclass(frozen=True)
class Header:
    """What a file says of an array, and how many bytes of it stand before the numbers."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    is_fortran: bool
    start: int

    @property
    def size(self) -> int:
        """Of the numbers, in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


class ArrayFile:
    """An .npz file as numpy.savez and numpy.savez_compressed write it. Each question raises NoArrays."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def headers(self) -> dict[str, Header]:
        """Of each array by its name, without reading it."""
        found: dict[str, Header] = {}
        with self._opened() as archive:
            members = archive.infolist()
            if len(members) > MOST_ARRAYS:
                raise NoArrays(f"holds {len(members)} arrays; at most {MOST_ARRAYS}")
            for member in members:
                name = member.filename.removesuffix(".npy")
                if name in found:
                    raise NoArrays(f"holds two arrays named {name}")
                _check_packing(name, member)
                with archive.open(member) as file:
                    found[name] = header = _read_header(name, file)
                if not header.dtype.hasobject and header.start + header.size != member.file_size:
                    raise NoArrays(
                        f"{name} is damaged: its header says {header.shape} of {header.dtype}, and the file holds"
                        f" {member.file_size - header.start} bytes of it"
                    )
        return found

    def read(self, name: str) -> NDArray[Any]:
        """One of the arrays that have a header."""
        header = self.headers[name]
        if header.dtype.hasobject:
            raise NoArrays(f"{name} holds Python objects, not numbers")
        there = machine_memory()
        if 2 * header.size > there:
            raise NoArrays(f"{name} has {header.size / 1e9:.3g} GB, and this machine {there / 1e9:.3g} GB of memory")
        with self._opened() as archive:
            (member,) = (each for each in archive.infolist() if each.filename.removesuffix(".npy") == name)
            with archive.open(member) as file:
                file.read(header.start)
                return _numbers(name, header, file)

    def position(self, name: str) -> int | None:
        """Where in the file the numbers of an array begin, in C order; None where they are packed, or in another."""
        header = self.headers[name]
        with self._opened() as archive:
            (member,) = (each for each in archive.infolist() if each.filename.removesuffix(".npy") == name)
            if member.compress_type != zipfile.ZIP_STORED or header.is_fortran or header.dtype.hasobject:
                return None
            assert archive.fp is not None
            archive.fp.seek(member.header_offset + LOCAL_LENGTHS)
            name_length, extra_length = struct.unpack("<HH", archive.fp.read(4))
        return int(member.header_offset + LOCAL_HEADER + name_length + extra_length + header.start)

    @contextmanager
    def _opened(self) -> Iterator[zipfile.ZipFile]:
        try:
            with self.path.open("rb") as file:
                if file.read(len(MAGIC)) == MAGIC:
                    raise NoArrays("is not an .npz archive but a single array")
                file.seek(0)
                with zipfile.ZipFile(file) as archive:
                    yield archive
        except OSError as error:
            raise NoArrays(f"cannot be read ({error.strerror or error})") from error
        except UNREADABLE as error:
            raise NoArrays(DAMAGED) from error


def _check_packing(name: str, member: zipfile.ZipInfo) -> None:
    if member.flag_bits & ENCRYPTED:
        raise NoArrays(f"{name} is encrypted")
    if member.compress_type not in METHODS:
        raise NoArrays(f"{name} is packed in another way than numpy packs")
    if member.file_size > max(SMALL, LARGEST_RATIO * member.compress_size):
        packed, unpacked = member.compress_size >> 20, member.file_size >> 20
        raise NoArrays(f"{name} would be unpacked from {packed} MB to {unpacked} MB, which no data are")


def _read_header(name: str, file: IO[bytes]) -> Header:
    start = file.read(len(MAGIC) + 2)
    if start[: len(MAGIC)] != MAGIC or len(start) < len(MAGIC) + 2 or start[len(MAGIC)] not in LENGTHS:
        raise NoArrays(DAMAGED)
    form = LENGTHS[start[len(MAGIC)]]
    (length,) = struct.unpack(form, file.read(struct.calcsize(form)))
    if length > LONGEST_HEADER:
        raise NoArrays(f"{name} is damaged: its header has {length} bytes")
    text = file.read(length)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python, on what no numpy has written
            said = ast.literal_eval(text.decode().strip())
            shape, is_fortran, dtype = said["shape"], said["fortran_order"], npy.descr_to_dtype(said["descr"])
    except (*NO_LITERAL, KeyError) as error:
        raise NoArrays(DAMAGED) from error
    whole = isinstance(shape, tuple) and all(type(each) is int and each >= 0 for each in shape)
    if not whole or not isinstance(is_fortran, bool):
        raise NoArrays(DAMAGED)
    return Header(shape, dtype, is_fortran, len(start) + struct.calcsize(form) + length)


def _numbers(name: str, header: Header, file: IO[bytes]) -> NDArray[Any]:
    """A part at a time, because a file may lie about its size."""
    flat = np.empty(header.size, dtype=np.uint8)
    at = 0
    while part := file.read(PART):
        if at + len(part) > len(flat):
            break
        flat[at : at + len(part)] = np.frombuffer(part, dtype=np.uint8)
        at += len(part)
    if at != len(flat) or part:
        raise NoArrays(f"{name} is damaged")
    if not header.size:
        return np.empty(header.shape, header.dtype)
    return flat.view(header.dtype).reshape(header.shape, order="F" if header.is_fortran else "C")
