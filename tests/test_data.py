"""Class counts, the choice of samples, and the loaders on small files in the data sets' own formats."""

import gzip
import hashlib
import os
import pickle
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Compose, Refused

from ncrun.data.batches import batch_slices, epoch_order
from ncrun.data.catalogue import CATALOGUE
from ncrun.data.counts import class_counts, seeded_class_order
from ncrun.data.load import IDX_MD5, LabelledImages, load_run_data, read_splits
from ncrun.data.subset import choose_indices, indices_hash
from ncrun.errors import UserError

CPU = torch.device("cpu")

# ---------------------------------------------------------------- class counts


@pytest.mark.parametrize(
    ("profile", "imbalance", "counts"),
    [
        # 5000 * 0.1^(k/9), rounded down; both ends are whole numbers that floating point could miss by one
        ("exp", 0.1, [5000, 3871, 2997, 2320, 1796, 1391, 1077, 834, 645, 500]),
        ("step", 0.1, [5000] * 5 + [500] * 5),
        ("linear", 0.1, [5000, 4500, 4000, 3500, 3000, 2500, 2000, 1500, 1000, 500]),
        ("exp", 1, [5000] * 10),
        ("step", 1, [5000] * 10),
        ("linear", 1, [5000] * 10),
        ("exp", 0.001, [5000, 2320, 1077, 500, 232, 107, 50, 23, 10, 5]),
        ("step", 1e-9, [5000] * 5 + [1] * 5),
    ],
)
def test_profiles(profile: str, imbalance: float, counts: list[int]) -> None:
    assert class_counts([5000] * 10, imbalance, profile) == counts


@pytest.mark.parametrize("ratio", [0.7, 0.3, 0.29, 0.07, 0.01])
def test_smallest_class_is_exact_and_rounded_down(ratio: float) -> None:
    """n_max r in decimal arithmetic: 5000 * 0.29 is 1450, although the nearest floating-point product is below it."""
    wanted = round(ratio * 100) * 50
    assert {class_counts([5000] * 10, ratio, profile)[-1] for profile in ("exp", "step", "linear")} == {wanted}
    assert class_counts([143] * 10, 0.5, "step")[-1] == 71


def test_counts_start_at_the_smallest_class() -> None:
    assert class_counts([9, 7, 8], 1.0, "exp") == [7, 7, 7]
    assert class_counts([9, 7, 8], None, "exp") == [9, 7, 8]


def test_step_of_an_odd_number_of_classes_makes_the_smaller_half_small() -> None:
    assert class_counts([100] * 5, 0.1, "step") == [100, 100, 100, 10, 10]


def test_one_class() -> None:
    assert class_counts([50], 0.1, "exp") == [50]


def test_rare_order_permutes_the_counts() -> None:
    assert class_counts([100] * 3, 0.25, "linear", [2, 0, 1]) == [62, 25, 100]


def test_class_order_depends_on_the_seed_alone(run_config: Compose) -> None:
    orders = [seeded_class_order(10, seed) for seed in range(5)]
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert orders == [seeded_class_order(10, seed) for seed in range(5)]
    assert len({tuple(order) for order in orders}) == 5
    listed = run_config("imbalance=0.1", "seed=3").class_counts()
    drawn = [
        run_config("imbalance=0.1", "class_order=seed", "seed=3", e).class_counts() for e in ("epochs=5", "loss=ce")
    ]
    assert drawn[0] == drawn[1] != listed
    assert sorted(drawn[0]) == sorted(listed)
    assert [drawn[0][k] for k in orders[3]] == listed


# ---------------------------------------------------------------- which samples


def test_subset_first_is_the_sets_own_order() -> None:
    labels = np.array([1, 0, 0, 1, 2, 0, 1, 2])
    assert choose_indices(labels, [2, 1, 2], "first", seed=5).tolist() == [0, 1, 2, 4, 7]


def test_subset_seed_depends_on_the_seed_alone() -> None:
    labels = np.repeat(np.arange(4), 50)
    counts = [20, 10, 5, 1]
    chosen = choose_indices(labels, counts, "seed", seed=1)
    assert np.bincount(labels[chosen]).tolist() == counts
    assert len(set(chosen.tolist())) == sum(counts)
    assert np.array_equal(chosen, choose_indices(labels, counts, "seed", seed=1))
    assert not np.array_equal(chosen, choose_indices(labels, counts, "seed", seed=2))
    assert not np.array_equal(chosen, choose_indices(labels, counts, "first", seed=1))


def test_index_hash_is_the_same_on_every_machine() -> None:
    """SHA-256 of the bytes 01 00.. 02 00.. 03 00.., whatever the integers' type and byte order."""
    written = b"".join(bytes([i, 0, 0, 0, 0, 0, 0, 0]) for i in (1, 2, 3))
    for kind in ("<i8", ">i8", "<i4"):
        assert indices_hash(np.array([1, 2, 3], dtype=kind)) == hashlib.sha256(written).hexdigest()


def test_seeded_digits_subset_is_stable_between_versions() -> None:
    """The hash of a whole run's choice, so that a change in drawing cannot go unseen."""
    data = load_run_data("digits", [20] * 10, "seed", 0, Path(), CPU, torch.float32)
    again = load_run_data("digits", [20] * 10, "seed", 0, Path(), CPU, torch.float64)
    other = load_run_data("digits", [20] * 10, "seed", 1, Path(), CPU, torch.float32)
    assert data.index_hash == again.index_hash != other.index_hash
    assert data.index_hash.startswith("271ad06b22574dff")


# ---------------------------------------------------------------- batches


@pytest.mark.parametrize(
    ("N", "batch_size", "lengths"),
    [
        (10, 5, [5, 5]),
        (10, 4, [4, 4, 2]),
        (10, 3, [3, 3, 4]),  # a last batch of one joins the one before
        (11, 10, [11]),
        (10, 10, [10]),
        (3, 1, [1, 1, 1]),  # asked for
        (1, 1, [1]),
    ],
)
def test_batch_slices_cover_every_sample_once(N: int, batch_size: int, lengths: list[int]) -> None:
    slices = batch_slices(N, batch_size)
    assert [part.stop - part.start for part in slices] == lengths
    assert [i for part in slices for i in range(N)[part]] == list(range(N))


def test_epoch_order_is_a_permutation_that_changes() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = epoch_order(50, generator), epoch_order(50, generator)
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(50))
    assert not torch.equal(first, second)


# ---------------------------------------------------------------- digits


def test_digits_split_equals_the_catalogue() -> None:
    train, test = read_splits("digits", Path("unused"))
    facts = CATALOGUE["digits"]
    assert tuple(np.bincount(train.labels)) == facts.class_sizes
    assert train.images.shape[1:] == test.images.shape[1:] == facts.image_shape
    assert len(train.labels) + len(test.labels) == 1797
    share = np.bincount(test.labels) / (np.bincount(test.labels) + np.bincount(train.labels))
    assert np.all(abs(share - 0.2) < 0.01)
    pixels = train.images / 16.0
    assert pixels.max() == 1
    assert abs(pixels.mean() - facts.mean[0]) < 1e-3
    assert abs(pixels.std() - facts.std[0]) < 1e-3


def test_digits_splits_share_no_sample_with_sklearns_order() -> None:
    """Every fifth sample of each class is for testing, and both splits keep the set's order."""
    from sklearn.datasets import load_digits

    bundle = load_digits()
    train, test = read_splits("digits", Path("unused"))
    zeros = bundle.images[bundle.target == 0]
    assert np.array_equal(test.images[test.labels == 0][:, 0], zeros[4::5])
    assert np.array_equal(train.images[train.labels == 0][:4, 0], zeros[:4])


def test_run_data_is_normalised_and_chosen() -> None:
    counts = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3]
    data = load_run_data("digits", counts, "first", 0, Path(), CPU, torch.float64)
    assert data.train_images.dtype == torch.float64
    assert torch.bincount(data.train_labels).tolist() == counts
    train, test = read_splits("digits", Path())
    facts = CATALOGUE["digits"]
    first_zero = (torch.from_numpy(train.images[train.labels == 0][0]).double() / 16 - facts.mean[0]) / facts.std[0]
    assert torch.allclose(data.train_images[data.train_labels == 0][0], first_zero)
    whole = load_run_data("digits", facts.class_sizes, None, 0, Path(), CPU, torch.float32)
    assert whole.train_images.shape == (1442, 1, 8, 8)
    assert abs(float(whole.train_images.mean())) < 5e-3
    assert abs(float(whole.train_images.std()) - 1) < 5e-3
    assert len(whole.test_labels) == len(test.labels)


# ---------------------------------------------------------------- small files in the original formats


def write_idx(folder: Path, name: str, values: np.ndarray) -> str:
    """An IDX file: two zero bytes, 8 for unsigned bytes, the number of axes, their big-endian lengths, the data."""
    folder.mkdir(parents=True, exist_ok=True)
    header = bytes([0, 0, 8, values.ndim]) + b"".join(length.to_bytes(4, "big") for length in values.shape)
    (folder / name).write_bytes(header + values.astype(np.uint8).tobytes())
    return hashlib.md5((folder / name).read_bytes()).hexdigest()


def small_mnist(folder: Path, dataset: str, monkeypatch: pytest.MonkeyPatch) -> tuple[LabelledImages, LabelledImages]:
    rng = np.random.default_rng(0)
    raw = folder / {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}[dataset] / "raw"
    splits, sums = [], {}
    for prefix, size in (("train", 30), ("t10k", 20)):
        images = rng.integers(0, 256, (size, 28, 28), dtype=np.uint8)
        labels = np.arange(size) % 10
        sums[f"{prefix}-images-idx3-ubyte"] = write_idx(raw, f"{prefix}-images-idx3-ubyte", images)
        sums[f"{prefix}-labels-idx1-ubyte"] = write_idx(raw, f"{prefix}-labels-idx1-ubyte", labels)
        splits.append(LabelledImages(images[:, None], labels))
    assert sums.keys() == IDX_MD5[dataset].keys()
    monkeypatch.setitem(IDX_MD5, dataset, sums)
    return splits[0], splits[1]


def small_cifar10(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[LabelledImages, LabelledImages]:
    """Pickled dictionaries of (10, 3072) bytes: all red, then all green, then all blue, row by row."""
    from torchvision.datasets import CIFAR10

    rng = np.random.default_rng(1)
    base = folder / "cifar-10-batches-py"
    base.mkdir(parents=True)
    images, sums = {}, {}
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        images[name] = rng.integers(0, 256, (10, 3, 32, 32), dtype=np.uint8)
        content = {"data": images[name].reshape(10, 3072), "labels": list(range(10))}
        (base / name).write_bytes(pickle.dumps(content, protocol=2))
        sums[name] = hashlib.md5((base / name).read_bytes()).hexdigest()
    (base / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}, protocol=2))
    meta_sum = hashlib.md5((base / "batches.meta").read_bytes()).hexdigest()
    monkeypatch.setattr(CIFAR10, "train_list", [[name, sums[name]] for name in sums if name != "test_batch"])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": meta_sum})
    train = np.concatenate([images[f"data_batch_{i}"] for i in range(1, 6)])
    return LabelledImages(train, np.tile(np.arange(10), 5)), LabelledImages(images["test_batch"], np.arange(10))


def small_set(dataset: str, folder: Path, patch: pytest.MonkeyPatch) -> tuple[LabelledImages, LabelledImages]:
    return small_cifar10(folder, patch) if dataset == "cifar10" else small_mnist(folder, dataset, patch)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def urlopen(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network here")

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)


TORCHVISION_SETS = ["mnist", "fashion_mnist", "cifar10"]


@pytest.mark.parametrize("dataset", TORCHVISION_SETS)
def test_original_files_are_read(
    dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: None
) -> None:
    train, test = small_set(dataset, tmp_path, monkeypatch)
    for read, written in zip(read_splits(dataset, tmp_path), (train, test), strict=True):
        assert np.array_equal(read.images, written.images)  # (N, C, H, W), pixel by pixel
        assert read.labels.tolist() == written.labels.tolist()
    data = load_run_data(dataset, [2] * 10, "first", 0, tmp_path, CPU, torch.float32)
    assert data.train_images.shape == (20, *CATALOGUE[dataset].image_shape)
    assert data.train_labels.tolist() == list(range(10)) * 2
    for channel, (mean, std) in enumerate(zip(CATALOGUE[dataset].mean, CATALOGUE[dataset].std, strict=True)):
        wanted = (train.images[:20, channel].astype(np.float64) / 255 - mean) / std
        assert np.allclose(data.train_images[:, channel], wanted, atol=1e-5)
        wanted = (test.images[:, channel].astype(np.float64) / 255 - mean) / std
        assert np.allclose(data.test_images[:, channel], wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("dataset", "file"),
    [
        ("mnist", "MNIST/raw/train-images-idx3-ubyte"),
        ("mnist", "MNIST/raw/t10k-labels-idx1-ubyte"),
        ("fashion_mnist", "FashionMNIST/raw/train-labels-idx1-ubyte"),
        ("cifar10", "cifar-10-batches-py/data_batch_3"),
        ("cifar10", "cifar-10-batches-py/test_batch"),
        ("cifar10", "cifar-10-batches-py/batches.meta"),
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

    train, _ = small_mnist(tmp_path, "mnist", monkeypatch)
    resources = []
    for path in sorted((tmp_path / "MNIST" / "raw").iterdir()):
        packed = gzip.compress(path.read_bytes(), mtime=0)
        path.with_name(path.name + ".gz").write_bytes(packed)
        path.unlink()
        resources.append((path.name + ".gz", hashlib.md5(packed).hexdigest()))
    monkeypatch.setattr(MNIST, "resources", resources)
    assert np.array_equal(read_splits("mnist", tmp_path)[0].images, train.images)


def test_data_folder(run_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ncrun.config import data_directory

    (tmp_path / "typed").mkdir()
    monkeypatch.setenv("NCRUN_DATA", str(tmp_path / "variable"))
    assert data_directory(run_config(f"data_dir={tmp_path / 'typed'}")) == tmp_path / "typed"
    assert data_directory(run_config()) == tmp_path / "variable"
    monkeypatch.delenv("NCRUN_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert data_directory(run_config()) == tmp_path / "cache" / "ncrun" / "data"


def test_builds_of_torch_and_torchvision_that_do_not_match(monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins

    importing = builtins.__import__

    def broken(name: str, *rest: object) -> object:
        if name == "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist")
        return importing(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", broken)
    with pytest.raises(UserError, match="different builds"):
        read_splits("mnist", Path("unused"))


# ---------------------------------------------------------------- the real files


@pytest.mark.skipif("NCRUN_TEST_DATA" not in os.environ, reason="NCRUN_TEST_DATA names no folder with the real files")
@pytest.mark.parametrize(
    ("dataset", "means"),
    [("mnist", [0.1307]), ("fashion_mnist", [0.2860]), ("cifar10", [0.4914, 0.4822, 0.4465])],
)
def test_real_files(dataset: str, means: list[float]) -> None:
    train, test = read_splits(dataset, Path(os.environ["NCRUN_TEST_DATA"]))
    facts = CATALOGUE[dataset]
    assert tuple(np.bincount(train.labels)) == facts.class_sizes
    assert train.images.shape[1:] == facts.image_shape
    assert len(test.labels) == 10_000
    assert np.allclose(train.images.mean(axis=(0, 2, 3)) / 255, means, atol=1e-4)


def test_a_failed_download_removes_no_folder_that_was_there(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the user's own empty folders nor the data folder itself; only what the attempt has made."""
    from torchvision.datasets import MNIST

    def fail(self: MNIST) -> None:
        (workdir / "data" / "MNIST" / "raw").mkdir(parents=True)
        raise RuntimeError("no network")

    monkeypatch.setattr(MNIST, "download", fail)
    (workdir / "data" / "mine").mkdir(parents=True)
    with pytest.raises(UserError, match="no files in"):
        read_splits("mnist", workdir / "data")
    assert [path.name for path in (workdir / "data").iterdir()] == ["mine"]
