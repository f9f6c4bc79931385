"""Data sets packed to travel: what is laid out again has the same bytes."""

import hashlib
import pickle
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import pack_data

from ncrun.data.sources.cifar import CIFAR10
from ncrun.data.sources.mnist import MNIST


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A CIFAR-10 of 7 images in two files, and an MNIST of 11, as torchvision lays them out."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "data"
    raw, batches = folder / "MNIST" / "raw", folder / "cifar-10-batches-py"
    raw.mkdir(parents=True)
    batches.mkdir()
    images = rng.integers(0, 256, (11, 28, 28), dtype=np.uint8)
    (raw / "train-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 2051, 11, 28, 28) + images.tobytes())
    (raw / "train-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, 11) + bytes(range(11)))
    batch = {b"labels": list(range(7)), b"data": rng.integers(0, 256, (7, 3072), dtype=np.uint8), b"filenames": [b"a"]}
    (batches / "data_batch_1").write_bytes(pickle.dumps(batch))
    (batches / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"cat"]}))

    def sums(folder: Path) -> dict[str, str]:
        return {file.name: hashlib.md5(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}

    there = {"mnist": sums(raw), "cifar10": sums(batches)}
    monkeypatch.setattr(MNIST, "idx_md5", there["mnist"])
    monkeypatch.setattr(CIFAR10, "sums", lambda self, theirs: there["cifar10"])
    return folder


def test_bytes_are_the_same(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed, again = tmp_path / "packed", tmp_path / "again"
    assert pack_data.main(["pack", str(packed), "--from", str(data)]) == 0
    assert pack_data.main(["unpack", str(packed), str(again)]) == 0
    files = [file.relative_to(data) for file in data.rglob("*") if file.is_file()]
    assert len(files) == 4
    for file in files:
        assert (again / file).read_bytes() == (data / file).read_bytes()


def test_loads_are_no_larger_than_asked(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = tmp_path / "packed"
    assert pack_data.main(["pack", str(packed), "--from", str(data), "--load", "0.025"]) == 0
    loads = [sum(file.stat().st_size for file in load.iterdir()) for load in packed.iterdir()]
    assert len(loads) == 2
    assert max(loads) <= 0.025 * 2**20
    assert pack_data.main(["pack", str(packed), "--from", str(data), "--load", "0.001"]) == 2
    assert "data_batch_1 alone takes" in capsys.readouterr().err


def test_what_is_damaged_is_named(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed, again = tmp_path / "packed", tmp_path / "again"
    assert pack_data.main(["pack", str(packed), "mnist", "--from", str(data)]) == 0
    (file,) = packed.rglob("*images*")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert pack_data.main(["unpack", str(packed), str(again)]) == 2
    assert f"{file}: is damaged" in capsys.readouterr().err
    (data / "cifar-10-batches-py" / "batches.meta").write_bytes(b"x")
    assert pack_data.main(["pack", str(packed), "cifar10", "--from", str(data)]) == 2
    assert "batches.meta: is damaged" in capsys.readouterr().err
    assert pack_data.main(["pack", str(packed), "imagenet", "--from", str(data)]) == 2
    assert "imagenet: cannot be packed; there are cifar10, mnist" in capsys.readouterr().err
