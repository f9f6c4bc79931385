"""Packs the papers' data sets for transport, and unpacks them again, byte for byte.

    python scripts/pack_data.py pack FOLDER [NAME ...] [--from DATA] [--load MIB]
    python scripts/pack_data.py unpack FOLDER DATA

`pack` reads files in torchvision's layout under DATA (default: $NCRUN_DATA) and writes FOLDER/1, FOLDER/2, ... of at
most --load MiB each (default: 40), because CIFAR-10 is too large for one. Names: cifar10 mnist fashion_mnist cifar100;
default: those that are there. `unpack` unpacks all packed files below FOLDER, so that loads may come one after the
other. Every file is compared with the MD5 that ncrun checks when it reads it.

The images of a file become one large image, compressed without loss as WebP; the rest of the file is compressed by
LZMA.
"""

import argparse
import hashlib
import io
import json
import lzma
import os
import pickle
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torchvision import datasets

from ncrun.data import SOURCES
from ncrun.data.sources.downloaded import Downloaded
from ncrun.errors import UserError
from ncrun.records.places import UNREADABLE

NAMES = ("cifar10", "mnist", "fashion_mnist", "cifar100")
LOAD_MIB = 40.0
IDX_HEADER = 16
IDX_SIDE = 28
Pixels = NDArray[np.uint8]
Image.MAX_IMAGE_PIXELS = None  # a mosaic of 60,000 images is expected


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description="Pack data sets for transport")
    parser.add_argument("do", choices=["pack", "unpack"])
    parser.add_argument("folder", type=Path, help="of the packed files")
    parser.add_argument(
        "more", nargs="*", metavar="NAME or DATA", help=f"pack: of {', '.join(NAMES)}; unpack: where to"
    )
    parser.add_argument("--from", dest="data", type=Path, default=os.environ.get("NCRUN_DATA"), metavar="DATA")
    parser.add_argument("--load", type=float, default=LOAD_MIB, metavar="MIB", help="size of a load; default: 40")
    options = parser.parse_args(arguments)
    try:
        if options.do == "unpack":
            if len(options.more) != 1:
                parser.error("unpack: needs the folder of packed files and the folder to unpack them in")
            unpack(options.folder, Path(options.more[0]))
        elif options.data is None:
            parser.error("pack: needs --from=DATA or $NCRUN_DATA")
        else:
            pack(Path(options.data), options.folder, options.more, round(options.load * 2**20))
    except UserError as error:
        print(f"pack_data: {error}", file=sys.stderr)
        return 2
    return 0


def files_of(name: str, data: Path) -> dict[Path, str]:
    """The files of a data set and their MD5s. Raises UserError for an unknown name."""
    if name not in NAMES:
        raise UserError(f"{name}: cannot be packed; there are {', '.join(NAMES)}")
    source = SOURCES[name]
    assert isinstance(source, Downloaded)
    sums = source.sums(getattr(datasets, source.of_torchvision))
    return {source.base(data) / file: md5 for file, md5 in sums.items()}


def pack(data: Path, folder: Path, names: Sequence[str], load: int) -> None:
    """Writes the loads. Raises UserError for a file that is missing or damaged, or larger than a load."""
    wanted = {name: files_of(name, data) for name in names or NAMES}
    if not names:
        wanted = {name: files for name, files in wanted.items() if all(file.is_file() for file in files)}
    if not wanted:
        raise UserError(f"{data}: holds none of {', '.join(NAMES)}")
    number, used = 1, 0
    for name, files in wanted.items():
        for file, md5 in files.items():
            packed = pack_file(checked(file, md5), file.relative_to(data), md5)
            if len(packed) > load:
                raise UserError(f"--load={load / 2**20:g}: {file.name} alone takes {len(packed) / 2**20:.1f} MiB")
            if used + len(packed) > load:
                number, used = number + 1, 0
            used += len(packed)
            target = folder / str(number) / f"{name}-{file.name}.zip"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(packed)
            print(f"{target}: {len(packed) / 2**20:.2f} MiB instead of {file.stat().st_size / 2**20:.2f}", flush=True)


def checked(file: Path, md5: str) -> bytes:
    """The bytes of a checked file. Raises UserError."""
    if not file.is_file():
        raise UserError(f"{file}: no such file")
    content = file.read_bytes()
    if hashlib.md5(content).hexdigest() != md5:
        raise UserError(f"{file}: is damaged (its MD5 is not {md5})")
    return content


def pack_file(content: bytes, place: Path, md5: str) -> bytes:
    """A file as a zip of its mosaic, if it holds images, and the rest."""
    pixels = images_in(content, place)
    start = content.index(pixels.tobytes()) if pixels is not None else len(content)
    size = 0 if pixels is None else pixels.nbytes
    about = {"place": place.as_posix(), "md5": md5, "start": start, "shape": None if pixels is None else pixels.shape}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("about.json", json.dumps(about))
        archive.writestr("rest.xz", lzma.compress(content[:start] + content[start + size :], preset=9))
        if pixels is not None:
            picture = io.BytesIO()
            mosaic(pixels).save(picture, "WEBP", lossless=True, quality=60, method=4)
            archive.writestr("pixels.webp", picture.getvalue())
    return buffer.getvalue()


def images_in(content: bytes, place: Path) -> Pixels | None:
    """(N, C, H, W) uint8, in the order of the file's bytes; None if it holds none."""
    if "images-idx3" in place.name:
        return np.frombuffer(content, np.uint8, offset=IDX_HEADER).reshape(-1, 1, IDX_SIDE, IDX_SIDE)
    if place.parent.name.startswith("cifar") and "meta" not in place.name:
        rows: Pixels = pickle.loads(content, encoding="bytes")[b"data"]  # its MD5 is that of the original
        return rows.reshape(-1, 3, 32, 32)
    return None


def mosaic(pixels: Pixels) -> Image.Image:
    """A mosaic of all images, about as many in a row as there are rows."""
    N, C, H, W = pixels.shape
    columns = _columns(N)
    rows = -(-N // columns)
    tiles = np.zeros((rows * columns, C, H, W), np.uint8)
    tiles[:N] = pixels
    whole = tiles.reshape(rows, columns, C, H, W).transpose(0, 3, 1, 4, 2).reshape(rows * H, columns * W, C)
    return Image.fromarray(whole if C == 3 else whole.repeat(3, axis=2))


def tiles_of(picture: Image.Image, shape: Sequence[int]) -> Pixels:
    """The images of a mosaic."""
    N, C, H, W = shape
    columns = _columns(N)
    whole = np.asarray(picture.convert("RGB"))[:, :, :C]
    tiles = whole.reshape(-1, H, columns, W, C).transpose(0, 2, 4, 1, 3).reshape(-1, C, H, W)
    return np.ascontiguousarray(tiles[:N])


def _columns(N: int) -> int:
    return int(np.ceil(np.sqrt(N)))


def unpack(folder: Path, data: Path) -> None:
    """Unpacks every packed file below a folder. Raises UserError for a damaged one."""
    packed = sorted(folder.rglob("*.zip"))
    if not packed:
        raise UserError(f"{folder}: holds no packed files")
    for file in packed:
        place, content = unpack_file(file)
        target = data / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        print(target, flush=True)


def unpack_file(file: Path) -> tuple[Path, bytes]:
    """The path and the bytes of an unpacked file. Raises UserError."""
    try:
        with zipfile.ZipFile(file) as archive:
            about = json.loads(archive.read("about.json"))
            rest, start, place = lzma.decompress(archive.read("rest.xz")), int(about["start"]), Path(about["place"])
            pixels = b""
            if about["shape"] is not None:
                with Image.open(io.BytesIO(archive.read("pixels.webp"))) as picture:
                    pixels = tiles_of(picture, about["shape"]).tobytes()
    except (*UNREADABLE, KeyError, lzma.LZMAError) as error:
        raise UserError(f"{file}: is damaged, or not a packed file ({error})") from error
    content = rest[:start] + pixels + rest[start:]
    if hashlib.md5(content).hexdigest() != about["md5"] or place.is_absolute() or ".." in place.parts:
        raise UserError(f"{file}: is damaged (its content's MD5 is not {about['md5']})")
    return place, content


if __name__ == "__main__":
    sys.exit(main())
