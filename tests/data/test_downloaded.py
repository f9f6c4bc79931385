"""The data sets that torchvision reads: their files, whole, damaged, incomplete or not there at all."""

import gzip
import hashlib
import os
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from conftest import Refused, RunOf
from original_files import load_from, small_idx, small_set, write_idx

from ncrun.data import SOURCES
from ncrun.data.folder import data_folder
from ncrun.errors import UserError


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def urlopen(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network here")

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)


TORCHVISION_SETS = ["mnist", "fashion_mnist", "emnist_letters", "cifar10", "cifar100", "svhn"]


@pytest.mark.parametrize("dataset", TORCHVISION_SETS)
def test_original_files_are_read(
    dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: None, run_of: RunOf
) -> None:
    train, test = small_set(dataset, tmp_path, monkeypatch)
    facts = SOURCES[dataset].facts
    K = facts.num_classes
    for read, written in zip(SOURCES[dataset].read(tmp_path), (train, test), strict=True):
        assert np.array_equal(read.images, written.images)  # (N, C, H, W), pixel by pixel
        assert read.labels.tolist() == written.labels.tolist()
    chosen = (f"dataset={dataset}", f"counts={[2] * K}", "subset=first")
    run = run_of(*chosen, "dataset.size=null", "dataset.channels=null")
    data = load_from(tmp_path, run)
    assert data.train_images.shape == (2 * K, *facts.image_shape)
    assert data.train_labels.tolist() == list(range(K)) * 2
    assert data.test_labels.tolist() == test.labels.tolist()
    for channel, (mean, std) in enumerate(zip(facts.mean, facts.std, strict=True)):
        wanted = (train.images[: 2 * K, channel].astype(np.float64) / 255 - mean) / std
        assert np.allclose(data.train_images[:, channel], wanted, atol=1e-5)
        wanted = (test.images[:, channel].astype(np.float64) / 255 - mean) / std
        assert np.allclose(data.test_images[:, channel], wanted, atol=1e-5)
    assert load_from(tmp_path, run_of(*chosen)).train_images.shape == (2 * K, 3, 32, 32)


@pytest.mark.parametrize(
    ("dataset", "file"),
    [
        ("mnist", "MNIST/raw/train-images-idx3-ubyte"),
        ("mnist", "MNIST/raw/t10k-labels-idx1-ubyte"),
        ("fashion_mnist", "FashionMNIST/raw/train-labels-idx1-ubyte"),
        ("cifar10", "cifar-10-batches-py/data_batch_3"),
        ("cifar10", "cifar-10-batches-py/test_batch"),
        ("cifar10", "cifar-10-batches-py/batches.meta"),
        ("cifar100", "cifar-100-python/train"),
        ("cifar100", "cifar-100-python/test"),
        ("cifar100", "cifar-100-python/meta"),
        ("svhn", "train_32x32.mat"),
        ("svhn", "test_32x32.mat"),
    ],
)
@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_damaged_file_is_named(
    dataset: str,
    file: str,
    damage: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refused: Refused,
    no_network: None,
) -> None:
    small_set(dataset, tmp_path / "data", monkeypatch)
    path = tmp_path / "data" / file
    content = path.read_bytes()
    path.write_bytes(content[:-1] if damage == "cut" else content[:-1] + bytes([content[-1] ^ 1]))
    line = refused("train", f"dataset={dataset}", f"data_dir={tmp_path / 'data'}", "epochs=1")
    assert line.startswith(f"dataset={dataset}: ")
    assert str(path) in line


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("kind", ["images-idx3", "labels-idx1"])
@pytest.mark.parametrize("damage", ["cut", "missing", "empty", "header"])
def test_emnist_file_that_is_not_whole(
    split: str,
    kind: str,
    damage: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refused: Refused,
    no_network: None,
) -> None:
    """No sums of the unpacked files are published, so what is not as long as its header says is refused."""
    small_set("emnist_letters", tmp_path / "data", monkeypatch)
    path = tmp_path / "data" / "EMNIST" / "raw" / f"emnist-letters-{split}-{kind}-ubyte"
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes({"cut": content[:-1], "empty": b"", "header": b"\1" + content[1:]}[damage])
    line = refused("train", "dataset=emnist_letters", f"data_dir={tmp_path / 'data'}", "epochs=1")
    if damage == "missing":
        assert line.startswith(f"dataset=emnist_letters: no files in {tmp_path / 'data'}")
    else:
        assert line.startswith(f"dataset=emnist_letters: {path} is damaged")


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("label", [0, 27])
def test_emnist_label_that_is_no_letter(
    split: str, label: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: None
) -> None:
    small_set("emnist_letters", tmp_path, monkeypatch)
    path = tmp_path / "EMNIST" / "raw" / f"emnist-letters-{split}-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1] + bytes([label]))
    with pytest.raises(UserError, match=r"is damaged .* not 1 to 26") as told:
        SOURCES["emnist_letters"].read(tmp_path)
    assert str(path) in str(told.value)


def test_emnist_files_that_do_not_belong_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_set("emnist_letters", tmp_path, monkeypatch)
    write_idx(tmp_path / "EMNIST" / "raw", "emnist-letters-train-labels-idx1-ubyte", np.arange(1, 27))
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte is damaged, or .* 78 images and 26 labels"):
        SOURCES["emnist_letters"].read(tmp_path)


def test_files_with_fewer_samples_than_the_run_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused, no_network: None
) -> None:
    """The small files hold 3 training samples of each letter; the run's class 1 is the letter with number 25."""
    small_set("emnist_letters", tmp_path, monkeypatch)
    typed = ("dataset=emnist_letters", f"data_dir={tmp_path}", "classes=[3,25]", "counts=[3,4]")
    for sweep in ((), ("-m", "seed=0,1")):
        line = refused("train", *sweep, *typed)
        assert line == "dataset=emnist_letters: its files hold 3 training samples of class 25, not 4"


@pytest.mark.parametrize(("split", "word"), [("train", "0 training samples"), ("test", "no test sample")])
def test_files_without_a_class(
    split: str,
    word: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refused: Refused,
    no_network: None,
    run_of: RunOf,
) -> None:
    """z, the highest class, does not occur; a run on others does not need it."""
    small_set("emnist_letters", tmp_path, monkeypatch)
    path = tmp_path / "EMNIST" / "raw" / f"emnist-letters-{split}-labels-idx1-ubyte"
    content = path.read_bytes()
    path.write_bytes(content[:8] + content[8:].replace(bytes([26]), bytes([1])))
    typed = ("dataset=emnist_letters", f"data_dir={tmp_path}", "counts=[1,1]")
    for classes in ("classes=[0,25]", "classes=[25,0]"):
        assert f"its files hold {word} of class 25" in refused("train", *typed, classes)
    load_from(tmp_path, run_of(*typed, "classes=[24,0]"))


@pytest.mark.parametrize(
    ("dataset", "file"),
    [
        ("mnist", "MNIST/raw/t10k-images-idx3-ubyte"),
        ("cifar100", "cifar-100-python/test"),
        ("svhn", "test_32x32.mat"),
    ],
)
def test_one_file_missing(
    dataset: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused, no_network: None
) -> None:
    small_set(dataset, tmp_path / "data", monkeypatch)
    (tmp_path / "data" / file).unlink()
    line = refused("train", f"dataset={dataset}", f"data_dir={tmp_path / 'data'}", "epochs=1")
    assert line.startswith(f"dataset={dataset}: ")
    assert "put the files there" in line


@pytest.mark.parametrize("dataset", TORCHVISION_SETS)
def test_no_files_and_no_network(
    dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused, no_network: None
) -> None:
    """One line that names the folder looked in and both ways to provide the data."""
    monkeypatch.setenv("NCRUN_DATA", str(tmp_path / "empty"))
    line = refused("train", f"dataset={dataset}", "epochs=1")
    for part in (
        f"dataset={dataset}",
        str(tmp_path / "empty"),
        "data_dir=",
        "NCRUN_DATA",
        "put the files there",
    ):
        assert part in line


def test_packed_mnist_files_are_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: None) -> None:
    """A folder that holds the archives as downloaded needs no network either."""
    from torchvision.datasets import MNIST

    train, _ = small_idx(tmp_path, "mnist", monkeypatch)
    resources = []
    for path in sorted((tmp_path / "MNIST" / "raw").iterdir()):
        packed = gzip.compress(path.read_bytes(), mtime=0)
        path.with_name(path.name + ".gz").write_bytes(packed)
        path.unlink()
        resources.append((path.name + ".gz", hashlib.md5(packed).hexdigest()))
    monkeypatch.setattr(MNIST, "resources", resources)
    assert np.array_equal(SOURCES["mnist"].read(tmp_path)[0].images, train.images)


def test_builds_of_torch_and_torchvision_that_do_not_match(monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins

    importing = builtins.__import__

    def broken(name: str, *rest: object) -> object:
        if name == "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist")
        return importing(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", broken)
    with pytest.raises(UserError, match="different builds"):
        SOURCES["mnist"].read(Path("unused"))


@pytest.mark.skipif("NCRUN_TEST_DATA" not in os.environ, reason="NCRUN_TEST_DATA names no folder with the real files")
@pytest.mark.parametrize(
    ("dataset", "means"),
    [
        ("mnist", [0.1307]),
        ("fashion_mnist", [0.2860]),
        ("emnist_letters", [0.1722]),
        ("cifar10", [0.4914, 0.4822, 0.4465]),
        ("cifar100", [0.5071, 0.4865, 0.4409]),
        ("svhn", [0.4377, 0.4438, 0.4728]),
    ],
)
def test_real_files(dataset: str, means: list[float], no_network: None) -> None:
    """Class counts and pixel means as published; 1e-4: the means have four digits. A set that is not there is left
    out."""
    folder = Path(os.environ["NCRUN_TEST_DATA"])
    files = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python", "svhn": "train_32x32.mat"}
    files |= {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "emnist_letters": "EMNIST"}
    if not (folder / files[dataset]).exists():
        pytest.skip(f"{folder} has no {files[dataset]}")
    train, test = SOURCES[dataset].read(folder)
    facts = SOURCES[dataset].facts
    assert tuple(np.bincount(train.labels)) == facts.class_sizes
    assert train.images.shape[1:] == facts.image_shape
    assert len(test.labels) == {"emnist_letters": 20_800, "svhn": 26_032}.get(dataset, 10_000)
    assert np.allclose(train.images.mean(axis=(0, 2, 3)) / 255, means, rtol=0, atol=1e-4)


def test_a_failed_download_removes_no_folder_that_was_there(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the user's own empty folders nor the data folder itself; only what the attempt has made."""
    from torchvision.datasets import MNIST

    def fail(self: MNIST) -> None:
        (workdir / "data" / "MNIST" / "raw").mkdir(parents=True)
        raise RuntimeError("no network")

    monkeypatch.setattr(MNIST, "download", fail)
    (workdir / "data" / "mine").mkdir(parents=True)
    with pytest.raises(UserError, match="no files in"):
        SOURCES["mnist"].read(workdir / "data")
    assert [path.name for path in (workdir / "data").iterdir()] == ["mine"]


def test_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NCRUN_DATA", str(tmp_path / "variable"))
    assert data_folder(str(tmp_path / "typed")) == tmp_path / "typed"
    assert data_folder(None) == tmp_path / "variable"
    monkeypatch.delenv("NCRUN_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert data_folder(None) == tmp_path / "cache" / "ncrun" / "data"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert data_folder(None) == tmp_path / "home" / ".cache" / "ncrun" / "data"
