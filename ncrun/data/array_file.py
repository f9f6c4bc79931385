"""Reads arrays from somebody else's .npz file. Headers are compared with the file's size before anything is unpacked.

The only reader of foreign arrays: of data sets, and of networks that were trained elsewhere.
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
LENGTHS = {1: "<H", 2: "<I", 3: "<I"}  # format of a header, by its version
LONGEST_HEADER = 10_000
MOST_ARRAYS = 1000
ENCRYPTED = 0x1
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
PART = 1 << 20
# The header before a member of a zip archive: its bytes, and the positions of the lengths of the name and of the extra
# field.
LOCAL_HEADER, LOCAL_LENGTHS = 30, 26
# A member that is larger than this and compressed more than LARGEST_RATIO-fold is refused.
SMALL = 1 << 28
LARGEST_RATIO = 100
DAMAGED = "is damaged, or not an .npz file of numpy.savez"
# Exceptions of zipfile and numpy for damaged files.
UNREADABLE = (EOFError, ValueError, RuntimeError, OverflowError, zipfile.BadZipFile, zlib.error, struct.error)
NO_LITERAL = (SyntaxError, ValueError, TypeError, OverflowError, MemoryError, RecursionError)


class NoArrays(Exception):
    """The file, or a part of it, cannot be read. The message follows the file's name."""


@dataclass(frozen=True)
class Header:
    """An array's header, and the number of bytes before the numbers."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    is_fortran: bool
    start: int

    @property
    def size(self) -> int:
        """Of the numbers, in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


class ArrayFile:
    """An .npz file of numpy.savez or numpy.savez_compressed. Each method raises NoArrays."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def headers(self) -> dict[str, Header]:
        """The header of each array by its name, without reading the array."""
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
                        f"{name} is damaged: its header says {header.shape} of {header.dtype}, but the file holds"
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
            raise NoArrays(
                f"{name} has {header.size / 1e9:.3g} GB, but this machine has {there / 1e9:.3g} GB of memory"
            )
        with self._opened() as archive:
            (member,) = (each for each in archive.infolist() if each.filename.removesuffix(".npy") == name)
            with archive.open(member) as file:
                file.read(header.start)
                return _numbers(name, header, file)

    def position(self, name: str) -> int | None:
        """Where an array's numbers begin in the file; None if they are compressed or not in C order."""
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
        raise NoArrays(f"{name} is compressed by a method that numpy does not use")
    if member.file_size > max(SMALL, LARGEST_RATIO * member.compress_size):
        packed, unpacked = member.compress_size >> 20, member.file_size >> 20
        raise NoArrays(f"{name} would be unpacked from {packed} MB to {unpacked} MB, which is refused")


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
            warnings.simplefilter("ignore")  # raised by Python for headers that numpy did not write
            said = ast.literal_eval(text.decode().strip())
            shape, is_fortran, dtype = said["shape"], said["fortran_order"], npy.descr_to_dtype(said["descr"])
    except (*NO_LITERAL, KeyError) as error:
        raise NoArrays(DAMAGED) from error
    whole = isinstance(shape, tuple) and all(type(each) is int and each >= 0 for each in shape)
    if not whole or not isinstance(is_fortran, bool):
        raise NoArrays(DAMAGED)
    return Header(shape, dtype, is_fortran, len(start) + struct.calcsize(form) + length)


def _numbers(name: str, header: Header, file: IO[bytes]) -> NDArray[Any]:
    """In parts, because the stated size may be wrong."""
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
