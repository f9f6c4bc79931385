"""Arrays in a stranger's file: every lie is told in one line, before anything of its size is taken."""

import resource
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import Refused
from strangers_files import IMAGES, NETWORK, declared, encrypted, packed, saved, with_header

from ncrun.data import array_file
from ncrun.data.array_file import ArrayFile, NoArrays

HEADERS = {
    "a trillion entries": declared(f"({10**12},)"),
    "more than a C integer holds": declared(f"({10**30},)"),
    "a number of 5000 digits": declared(f"({'9' * 5000},)"),
    "more axes than numpy has, none of them long": declared(f"({'1,' * 12 * 8}0)"),
    "an axis of nothing beside an endless one": declared(f"(0, {10**30})"),
    "fewer than there are": declared("(3,)"),
    "below zero": declared("(-12,)"),
    "no whole number": declared("(12.0,)"),
    "true": declared("(True,)"),
    "of Python 2": declared("(12L,)"),
    "brackets in brackets": with_header("(" * 9000),
    "signs on signs": with_header("-" * 9000 + "1"),
    "an escape that Python warns of": declared("(12,)", r"'\d'"),
    "a string that would be long": declared("(12,)", "'a' * 10**9"),
    "a dtype larger than memory": declared("(12,)", "'V999999999999'"),
    "a group of dtypes": declared("(12,)", "[('a', '<i8')]"),
    "Python objects": declared("(12,)", "'O'"),
    "no dictionary": with_header("{1, 2}"),
    "nothing": with_header(""),
    "another version": with_header("{}").replace(b"NUMPY\x01", b"NUMPY\x09"),
    "a header of 4 GB": b"\x93NUMPY\x02\x00\xff\xff\xff\xff",
    "cut off": b"\x93NUM",
}


@pytest.mark.parametrize("what", HEADERS)
@pytest.mark.parametrize("source", ["measured", "data set"])
def test_headers_that_lie(what: str, source: str, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """Where an array is what its header says, it is of a kind or shape that the asking room refuses."""
    name, content = ("labels", NETWORK) if source == "measured" else ("train_labels", IMAGES)
    members = {key: saved(array) for key, array in content.items()} | {name: HEADERS[what]}
    file = ArrayFile(packed(tmp_path / "file.npz", members))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        array = file.read(name)
    except NoArrays as error:
        assert len(str(error)) < 6000  # noqa: PT017 - a success is as good
    else:
        assert array.nbytes <= 96
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kilobytes
    assert not recwarn.list


def test_the_commands_tell_it(refused: Refused, workdir: Path) -> None:
    members = {key: saved(array) for key, array in NETWORK.items()}
    for header in (declared(f"({10**12},)"), declared("(12L,)"), with_header("(" * 9000)):
        packed(workdir / "file.npz", members | {"labels": header})
        assert refused("measure", "file.npz", "--free-features").startswith("file.npz: ")
    images = {key: saved(array) for key, array in IMAGES.items()} | {"train_labels": declared(f"({10**12},)")}
    packed(workdir / "file.npz", images)
    line = refused("theory", "dataset=npz", "dataset.path=file.npz")
    assert "train_labels is damaged: its header says (1000000000000,) of int64, but the file holds 96 bytes" in line


def test_archives_that_unpack_to_more_than_data_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(array_file, "SMALL", 1 << 20)
    file = ArrayFile(packed(tmp_path / "file.npz", {"features": saved(np.zeros((1 << 20, 1)))}))
    with pytest.raises(NoArrays, match="features would be unpacked from 0 MB to 8 MB"):
        file.read("features")
    monkeypatch.setattr(array_file, "machine_memory", lambda: 10_000_000)
    file = ArrayFile(packed(tmp_path / "file.npz", {"features": saved(np.ones((1 << 20, 1)))}, zipfile.ZIP_STORED))
    with pytest.raises(NoArrays, match=r"features has 0.00839 GB, but this machine has 0.01 GB of memory"):
        file.read("features")


def test_encrypted_and_otherwise_packed_archives(tmp_path: Path) -> None:
    path = packed(tmp_path / "file.npz", {"features": saved(NETWORK["features"])})
    path.write_bytes(encrypted(path.read_bytes()))
    with pytest.raises(NoArrays, match="features is encrypted"):
        ArrayFile(path).read("features")
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        path = packed(tmp_path / "file.npz", {"features": saved(NETWORK["features"])}, method)
        with pytest.raises(NoArrays, match="features is compressed by a method"):
            ArrayFile(path).read("features")


def test_arrays_come_out_as_they_went_in(tmp_path: Path) -> None:
    """Of every kind of number, order and shape."""
    rng = np.random.default_rng(0)
    arrays = {
        "fortran": np.asfortranarray(rng.normal(size=(3, 5, 2))),
        "swapped": rng.normal(size=(4, 3)).astype(">f8"),
        "half": rng.normal(size=7).astype("float16"),
        "bytes": rng.integers(0, 256, (2, 3), dtype=np.uint8),
        "one": np.array(3),
        "none": np.zeros((0, 4)),
    }
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "file.npz", **arrays)
        file = ArrayFile(tmp_path / "file.npz")
        for name, array in arrays.items():
            found = file.read(name)
            assert found.dtype == array.dtype
            assert np.array_equal(found, array)
            assert file.headers[name].shape == array.shape


def test_a_head_of_a_hundred_billion_layers(refused: Refused, workdir: Path) -> None:
    members = {key: saved(array) for key, array in NETWORK.items() if key != "classifier"}
    for number in ("999", "99999999999", "1" * 4400):
        packed(workdir / "file.npz", members | {f"classifier_{number}": saved(NETWORK["classifier"])})
        assert "lacks classifier" in refused("measure", "file.npz", "--free-features")


def test_no_file_at_all(refused: Refused, workdir: Path) -> None:
    import os

    os.mkfifo(workdir / "pipe.npz")
    (workdir / "loop.npz").symlink_to("loop.npz")
    for name in ("pipe.npz", "loop.npz", "/dev/zero", "/proc"):
        assert "no such file" in refused("measure", name)
        refused("theory", "dataset=npz", f"dataset.path={name}")
