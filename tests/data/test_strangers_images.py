"""A stranger's folder of images: pipes, loops, sizes that no image has, names and files that cannot be read."""

import contextlib
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, Refused
from own_files import folder, write_images
from PIL import Image

from ncrun.data import image_files
from ncrun.data.image_files import NoImage, image_paths, pixels


@pytest.fixture
def images(workdir: Path) -> Path:
    write_images(workdir / "own", (4, 4))
    return workdir / "own"


def png_of_size(width: int, height: int) -> bytes:
    """A grey image of this size whose rows are all zero, or are not there at all."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(height * (width + 1)) if height * width < 1e8 else b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_a_pipe_is_not_waited_for(images: Path, refused: Refused) -> None:
    os.mkfifo(images / "apple" / "pipe.png")
    assert refused("theory", *folder(images)).endswith("apple/pipe.png is not a file")


@pytest.mark.parametrize(("width", "height"), [(10_000, 10_000), (2**31 - 1, 2**31 - 1), (60_000_000, 1)])
def test_images_of_more_pixels_than_images_have(
    width: int, height: int, images: Path, refused: Refused, recwarn: pytest.WarningsRecorder
) -> None:
    (images / "apple" / "large.png").write_bytes(png_of_size(width, height))
    line = refused("train", *folder(images), "epochs=1")
    assert "apple/large.png " in line
    assert "pixels; at most 50000000" in line or "damaged, or not an image" in line
    assert not recwarn.list


def test_links_that_lead_back(images: Path, refused: Refused) -> None:
    """Two of them in one folder would make a path for each row of choices, 2^40 of them."""
    for name in ("back", "again"):
        (images / "apple" / name).symlink_to(images / "apple")
    assert "apple contains itself by a link" in refused("theory", *folder(images))


def test_links_to_images_elsewhere_are_followed(images: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "elsewhere", (2,))
    (images / "apple" / "more").symlink_to(tmp_path / "elsewhere" / "apple")
    names = [str(path.relative_to(images)) for path in image_paths(images / "apple")]
    assert names == [*(f"apple/{i}.png" for i in range(4)), "apple/more/0.png", "apple/more/1.png"]


def test_folders_of_other_things(images: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused) -> None:
    monkeypatch.setattr(image_files, "MOST_OTHER_FILES", 5)
    for i in range(6):
        (images / "apple" / f"{i}.txt").touch()
    assert "apple holds more than 5 folders and files that are not images" in refused("theory", *folder(images))
    monkeypatch.undo()
    deep = images / "bear" / "/".join("d" * 25)
    deep.mkdir(parents=True)
    with pytest.raises(NoImage, match="more than 20 deep"):
        image_paths(images / "bear")


@pytest.mark.parametrize("place", ["/proc", "/sys"])
def test_what_the_kernel_shows(place: str, refused: Refused) -> None:
    assert refused("theory", *folder(Path(place))).startswith(f"dataset.path={place}: ")


def test_names_that_are_no_utf8(images: Path, refused: Refused) -> None:
    (images / "apple" / "0.png").rename(os.fsdecode(os.fsencode(images / "apple") + b"/\xff.png"))
    assert r"'apple/\udcff.png' has a name that is not UTF-8" in refused("theory", *folder(images))


def test_files_that_may_not_be_read(images: Path, ncrun: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the system refuses it to others than root, who runs these tests where a container does."""
    opened = Path.open

    def refusing(self: Path, *rest: Any, **more: Any) -> Any:
        if self.name == "1.png":
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, *rest, **more)

    monkeypatch.setattr(Path, "open", refusing)
    result = ncrun("theory", *folder(images))
    assert (result.status, result.err.count("\n")) == (2, 1)
    assert result.err.endswith("apple/1.png cannot be read (Permission denied)\n")


def test_formats_that_start_other_programs(tmp_path: Path) -> None:
    """Pillow hands PostScript to ghostscript, whatever the file's name says."""
    path = tmp_path / "page.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n")
    with pytest.raises(NoImage, match="damaged, or not an image"):
        pixels(path, 6, 3)


@pytest.mark.parametrize("cut", [30, 200, 600])
def test_damaged_tiff_files_do_not_speak(cut: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "page.tif"
    Image.new("RGB", (30, 30), "red").save(path, compression="tiff_lzw")
    content = path.read_bytes()
    path.write_bytes(content[:cut] + b"\xff" * 20 + content[cut + 20 :])
    with contextlib.suppress(NoImage):
        pixels(path, 6, 3)
    assert capfd.readouterr() == ("", "")
