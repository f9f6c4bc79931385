"""A user's image files: found in a folder, hashed and decoded, with limits on their size.

Each function raises NoImage, whose message follows the file's name.
"""

import hashlib
import os
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
# Not all formats of Pillow: for some it starts other programs.
FORMATS = ("JPEG", "PNG", "PPM", "BMP", "DIB", "TIFF", "WEBP", "GIF")
LARGEST_FILE = 256 << 20
MOST_PIXELS = 50_000_000
# In a class; more means a folder of other things, such as / or /proc.
MOST_OTHER_FILES = 20_000
DEEPEST = 20


class NoImage(Exception):
    """A file or a folder is not as required; the message gives the reason."""


def image_paths(folder: Path) -> list[Path]:
    """The images in a folder and its sub-folders, in torchvision's order. Hidden files and files without an image's
    suffix are skipped."""
    found: dict[str, list[str]] = {}
    others = 0
    for root, names in _walk(folder, frozenset(), 0):
        found[root] = sorted(name for name in names if name.lower().endswith(SUFFIXES) and not name.startswith("."))
        others += 1 + len(names) - len(found[root])
        if others > MOST_OTHER_FILES:
            raise NoImage(f"holds more than {MOST_OTHER_FILES} folders and files that are not images")
    return [Path(root, name) for root in sorted(found) for name in found[root]]


def add_to_digest(path: Path, name: str, content: "hashlib._Hash") -> None:
    """The image's name, size and bytes."""
    with _guarded(path), path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        content.update(f"{name}\0{size}\0".encode())
        while size > 0 and (part := file.read(min(size, 1 << 20))):
            content.update(part)
            size -= len(part)


def pixels(path: Path, size: int, channels: int) -> NDArray[np.uint8]:
    """(C, size, size), grey (channels 1) or RGB (3), bilinear with antialiasing."""
    from PIL import Image  # this import takes a tenth of a second, and theory does not need it

    # Exceptions of Pillow, by format, for a truncated file or one that is not an image.
    damaged = (SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError, MemoryError)
    with _guarded(path), warnings.catch_warnings():
        # Pillow's warnings about unimportant tags, and about sizes, which are checked here
        warnings.simplefilter("ignore")
        try:
            with Image.open(path, formats=FORMATS) as image:
                width, height = image.size
                if width * height > MOST_PIXELS:
                    raise NoImage(f"has {width} x {height} pixels; at most {MOST_PIXELS}")
                if image.mode[0] in "IF":
                    raise NoImage(f"has more than 8 bits per channel (mode {image.mode})")
                with _silent() if image.format == "TIFF" else nullcontext():
                    opaque = image.convert("RGBA") if "transparency" in image.info else image
                    made = opaque.convert("L" if channels == 1 else "RGB")
        except damaged as error:
            raise NoImage("cannot be read (damaged, or not an image)") from error
        resized = np.asarray(made.resize((size, size), Image.Resampling.BILINEAR))
    return resized.reshape(size, size, channels).transpose(2, 0, 1)


@contextmanager
def _silent() -> Iterator[None]:
    """The C library libtiff writes its messages to the process' standard error."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def _guarded(path: Path) -> Iterator[None]:
    """Only a regular file of bounded size is opened: reading a pipe would wait."""
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise NoImage("is not a file")
        if size > LARGEST_FILE:
            raise NoImage(f"has {size >> 20} MB; at most {LARGEST_FILE >> 20}")
        yield
    except OSError as error:
        raise NoImage(f"cannot be read ({error.strerror or 'damaged, or not an image'})") from error


def _walk(folder: Path, above: frozenset[tuple[int, int]], depth: int) -> Iterator[tuple[str, list[str]]]:
    """Each folder below, with the names of its files. Links are followed, except one that leads to a folder above
    it."""
    itself = folder.stat()
    here = (itself.st_dev, itself.st_ino)
    if here in above or depth > DEEPEST:
        why = "contains itself by a link" if here in above else f"has nested folders, more than {DEEPEST} deep"
        raise NoImage(f"{why} ({folder.name}/)")
    below: list[str] = []
    names: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            (below if entry.is_dir() else names).append(entry.name)
    yield str(folder), names
    for name in sorted(below):
        yield from _walk(folder / name, above | {here}, depth + 1)
