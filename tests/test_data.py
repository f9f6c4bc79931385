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
from ncrun.data.load import IDX_MD5, load_run_data, normalise, read_splits
from ncrun.data.splits import LabelledImages, of_classes
from ncrun.data.subset import choose_indices, indices_hash, shuffled_labels
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


def test_seeded_digits_subset_is_stable_between_versions(run_config: Compose) -> None:
    """The hash of a whole run's choice, so that a change in drawing cannot go unseen."""
    run, reseeded = (run_config(f"counts={[20] * 10}", f"seed={seed}") for seed in (0, 1))
    data = load_run_data(run, Path(), CPU, torch.float32)
    again = load_run_data(run, Path(), CPU, torch.float64)
    other = load_run_data(reseeded, Path(), CPU, torch.float32)
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


def test_run_data_is_normalised_and_chosen(run_config: Compose) -> None:
    counts = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3]
    data = load_run_data(run_config(f"counts={counts}", "subset=first"), Path(), CPU, torch.float64)
    assert data.train_images.dtype == torch.float64
    assert torch.bincount(data.train_labels).tolist() == counts
    train, test = read_splits("digits", Path())
    facts = CATALOGUE["digits"]
    first_zero = (torch.from_numpy(train.images[train.labels == 0][0]).double() / 16 - facts.mean[0]) / facts.std[0]
    assert torch.allclose(data.train_images[data.train_labels == 0][0], first_zero)
    whole = load_run_data(run_config(), Path(), CPU, torch.float32)
    assert whole.train_images.shape == (1442, 1, 8, 8)
    assert abs(float(whole.train_images.mean())) < 5e-3
    assert abs(float(whole.train_images.std()) - 1) < 5e-3
    assert len(whole.test_labels) == len(test.labels)


# ---------------------------------------------------------------- grey in colour, and other sizes


def resampling(length: int, wanted: int) -> np.ndarray:
    """(wanted, length): a triangle about each wanted pixel's centre, as wide as the coarser grid's pixels."""
    centres = (np.arange(wanted) + 0.5) * length / wanted
    away = abs(np.arange(length) + 0.5 - centres[:, None]) / max(1, length / wanted)
    weights = np.maximum(0, 1 - away)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("size", [5, 8, 32])
def test_images_are_normalised_then_resized_then_repeated(size: int) -> None:
    """1e-12: float64 sums of a few numbers. Resizing first would round to whole grey levels."""
    facts = CATALOGUE["mnist"]
    images = np.random.default_rng(0).integers(0, 256, (3, 1, 28, 28), dtype=np.uint8)
    made = normalise(images, facts, (3, size, size), CPU, torch.float64)
    assert made.shape == (3, 3, size, size)
    assert torch.equal(made[:, 0], made[:, 1])
    assert torch.equal(made[:, 0], made[:, 2])
    matrix = resampling(28, size)
    wanted = matrix @ ((images[:, 0] / 255 - facts.mean[0]) / facts.std[0]) @ matrix.T
    assert np.allclose(made[:, 0], wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [3, 8, 20, 32])
def test_resizing_keeps_a_constant_image(size: int) -> None:
    """1e-12: weights that sum to 1 up to float64 rounding."""
    facts = CATALOGUE["cifar10"]
    images = np.empty((2, 3, 32, 32), dtype=np.uint8)
    images[:] = np.array([40, 90, 200])[:, None, None]
    made = normalise(images, facts, (3, size, size), CPU, torch.float64)
    for channel, level in enumerate((40, 90, 200)):
        wanted = (level / 255 - facts.mean[channel]) / facts.std[channel]
        assert made[:, channel].shape == (2, size, size)
        assert float(abs(made[:, channel] - wanted).max()) < 1e-12


@pytest.mark.parametrize("size", [16, 40, 64])
def test_resizing_keeps_the_mean_of_a_smooth_image(size: int) -> None:
    """1 of 255 levels: what the outermost pixels' cut triangles move."""
    x = np.linspace(0, np.pi, 28)
    smooth = np.tile((100 + 100 * np.outer(np.sin(x), np.sin(x))).astype(np.uint8), (1, 3, 1, 1))
    plain = CATALOGUE["svhn"]  # mean 0, deviation 1: pixels in [0, 1]
    made = normalise(smooth, plain, (3, size, size), CPU, torch.float64)
    assert abs(float(made.mean()) - smooth.mean() / 255) < 1 / 255


def test_images_left_as_they_are_are_only_normalised(run_config: Compose) -> None:
    data = load_run_data(run_config("dataset.size=8", "dataset.channels=1"), Path(), CPU, torch.float64)
    assert torch.equal(data.train_images, load_run_data(run_config(), Path(), CPU, torch.float64).train_images)


def test_run_data_has_the_shape_that_the_configuration_says(run_config: Compose) -> None:
    run = run_config(f"counts={[2] * 10}", "dataset.size=11", "dataset.channels=3")
    data = load_run_data(run, Path(), CPU, torch.float32)
    assert data.train_images.shape == (20, 3, 11, 11) == (20, *run.image_shape)
    assert data.test_images.shape == (355, 3, 11, 11)
    assert data.train_images.is_contiguous()


# ---------------------------------------------------------------- random labels


LABELS = np.repeat(np.arange(4), [400, 300, 200, 100])


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_shuffled_labels_keep_their_counts(share: float) -> None:
    dealt = shuffled_labels(LABELS, share, seed=3)
    assert np.bincount(dealt).tolist() == [400, 300, 200, 100]
    assert (dealt != LABELS).sum() <= share * len(LABELS)
    assert np.array_equal(LABELS, np.repeat(np.arange(4), [400, 300, 200, 100]))  # in a copy


def test_no_share_of_random_labels_is_the_labels() -> None:
    assert np.array_equal(shuffled_labels(LABELS, 0.0, seed=0), LABELS)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_shuffled_labels_change_as_often_as_chance_says(share: float) -> None:
    """A dealt label is another class' with probability 1 - sum of squared shares = 0.7. 0.08: four standard deviations
    of 500 independent labels, sqrt(0.7 * 0.3 / 500) = 0.02; a permutation's are smaller."""
    changed = (shuffled_labels(LABELS, share, seed=0) != LABELS).mean()
    assert abs(changed / share - 0.7) < 0.08


def test_shuffled_labels_depend_on_the_seed_alone() -> None:
    first = shuffled_labels(LABELS, 0.5, seed=1)
    assert np.array_equal(first, shuffled_labels(LABELS, 0.5, seed=1))
    assert not np.array_equal(first, shuffled_labels(LABELS, 0.5, seed=2))


def test_random_labels_are_the_training_splits_only(run_config: Compose) -> None:
    run, dealt = (run_config(f"counts={[30] * 10}", f"random_labels={share}") for share in (0, 1))
    clean, random = (load_run_data(r, Path(), CPU, torch.float32) for r in (run, dealt))
    assert torch.equal(clean.train_images, random.train_images)
    assert clean.index_hash == random.index_hash
    assert torch.bincount(random.train_labels).tolist() == [30] * 10
    # 1 - sum of squared shares = 0.9; 0.07 is four standard deviations of 300 independent labels
    assert abs(float((clean.train_labels != random.train_labels).double().mean()) - 0.9) < 0.07
    assert torch.equal(clean.test_labels, random.test_labels)


# ---------------------------------------------------------------- chosen classes


def test_chosen_classes_are_labelled_by_their_place() -> None:
    images = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1)
    split = LabelledImages(images, np.array([0, 1, 2, 3, 2, 0]))
    chosen = of_classes(split, [2, 0])
    assert chosen.labels.tolist() == [1, 0, 0, 1]
    assert chosen.images.ravel().tolist() == [0, 2, 4, 5]
    assert of_classes(split, None) is split
    assert of_classes(split, [0, 9]).labels.tolist() == [0, 0]  # a class that this split does not have
    assert of_classes(LabelledImages(images[:0], split.labels[:0]), [0, 9]).labels.tolist() == []


def test_run_data_of_chosen_classes(run_config: Compose) -> None:
    run = run_config("classes=[7,2]", "imbalance=0.5", "imbalance_profile=step", "subset=first")
    data = load_run_data(run, Path(), CPU, torch.float64)
    assert torch.bincount(data.train_labels).tolist() == [142, 71] == run.class_counts()  # the smaller class is 2
    train, test = read_splits("digits", Path())
    facts, shape = CATALOGUE["digits"], (1, 8, 8)
    for place, k, count in ((0, 7, 142), (1, 2, 71)):
        wanted = normalise(train.images[train.labels == k][:count], facts, shape, CPU, torch.float64)
        assert torch.equal(data.train_images[data.train_labels == place], wanted)
        wanted = normalise(test.images[test.labels == k], facts, shape, CPU, torch.float64)
        assert torch.equal(data.test_images[data.test_labels == place], wanted)
    assert set(data.test_labels.tolist()) == {0, 1}


# ---------------------------------------------------------------- small files in the original formats


def write_idx(folder: Path, name: str, values: np.ndarray) -> str:
    """An IDX file: two zero bytes, 8 for unsigned bytes, the number of axes, their big-endian lengths, the data."""
    folder.mkdir(parents=True, exist_ok=True)
    header = bytes([0, 0, 8, values.ndim]) + b"".join(length.to_bytes(4, "big") for length in values.shape)
    (folder / name).write_bytes(header + values.astype(np.uint8).tobytes())
    return hashlib.md5((folder / name).read_bytes()).hexdigest()


def small_idx(folder: Path, dataset: str, monkeypatch: pytest.MonkeyPatch) -> tuple[LabelledImages, LabelledImages]:
    """MNIST, FashionMNIST and EMNIST. The letters of EMNIST are numbered from 1."""
    rng = np.random.default_rng(0)
    name = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "emnist_letters": "EMNIST"}[dataset]
    letters = dataset == "emnist_letters"
    K, prefixes = (26, ("emnist-letters-train", "emnist-letters-test")) if letters else (10, ("train", "t10k"))
    splits, sums = [], {}
    for prefix, size in zip(prefixes, (3 * K, 2 * K), strict=True):
        images = rng.integers(0, 256, (size, 28, 28), dtype=np.uint8)
        labels = np.arange(size) % K
        written = {"images-idx3": images, "labels-idx1": labels + letters}
        for kind, values in written.items():
            sums[f"{prefix}-{kind}-ubyte"] = write_idx(folder / name / "raw", f"{prefix}-{kind}-ubyte", values)
        splits.append(LabelledImages(images[:, None], labels))
    if not letters:
        assert sums.keys() == IDX_MD5[dataset].keys()
        monkeypatch.setitem(IDX_MD5, dataset, sums)
    return splits[0], splits[1]


def small_cifar(folder: Path, dataset: str, monkeypatch: pytest.MonkeyPatch) -> tuple[LabelledImages, LabelledImages]:
    """Pickled dictionaries of (N, 3072) bytes: all red, then all green, then all blue, row by row."""
    from torchvision import datasets

    rng = np.random.default_rng(1)
    if dataset == "cifar10":
        source, K, parts, test = datasets.CIFAR10, 10, [f"data_batch_{i}" for i in range(1, 6)], "test_batch"
        key, base = "labels", folder / "cifar-10-batches-py"
    else:
        source, K, parts, test = datasets.CIFAR100, 100, ["train"], "test"
        key, base = "fine_labels", folder / "cifar-100-python"
    base.mkdir(parents=True)
    images, labels, sums = {}, {}, {}
    for name in [*parts, test]:
        labels[name] = np.arange(2 * K) % K if name == "train" else np.arange(K)
        images[name] = rng.integers(0, 256, (len(labels[name]), 3, 32, 32), dtype=np.uint8)
        content = {"data": images[name].reshape(-1, 3072), key: labels[name].tolist()}
        if dataset == "cifar100":
            content["coarse_labels"] = (labels[name] // 5).tolist()
        (base / name).write_bytes(pickle.dumps(content, protocol=2))
        sums[name] = hashlib.md5((base / name).read_bytes()).hexdigest()
    meta = base / source.meta["filename"]
    meta.write_bytes(pickle.dumps({source.meta["key"]: [f"class {k}" for k in range(K)]}, protocol=2))
    monkeypatch.setattr(source, "train_list", [[name, sums[name]] for name in parts])
    monkeypatch.setattr(source, "test_list", [[test, sums[test]]])
    monkeypatch.setattr(source, "meta", {**source.meta, "md5": hashlib.md5(meta.read_bytes()).hexdigest()})
    train = LabelledImages(
        np.concatenate([images[name] for name in parts]), np.concatenate([labels[name] for name in parts])
    )
    return train, LabelledImages(images[test], labels[test])


def small_svhn(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[LabelledImages, LabelledImages]:
    """MATLAB files: X (32, 32, 3, N), and y (N, 1) with 10 for the digit 0."""
    from scipy.io import savemat
    from torchvision.datasets import SVHN

    rng = np.random.default_rng(2)
    folder.mkdir(parents=True, exist_ok=True)
    splits, listed = [], dict(SVHN.split_list)
    for name, size in (("train", 30), ("test", 20)):
        images = rng.integers(0, 256, (size, 3, 32, 32), dtype=np.uint8)
        labels = np.arange(size) % 10
        path = folder / f"{name}_32x32.mat"
        digits = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
        savemat(path, {"X": images.transpose(2, 3, 1, 0), "y": digits})
        listed[name] = [*SVHN.split_list[name][:2], hashlib.md5(path.read_bytes()).hexdigest()]
        splits.append(LabelledImages(images, labels))
    monkeypatch.setattr(SVHN, "split_list", listed)
    return splits[0], splits[1]


def small_set(dataset: str, folder: Path, patch: pytest.MonkeyPatch) -> tuple[LabelledImages, LabelledImages]:
    if dataset == "svhn":
        return small_svhn(folder, patch)
    return (small_cifar if dataset.startswith("cifar") else small_idx)(folder, dataset, patch)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def urlopen(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network here")

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)


TORCHVISION_SETS = ["mnist", "fashion_mnist", "emnist_letters", "cifar10", "cifar100", "svhn"]


@pytest.mark.parametrize("dataset", TORCHVISION_SETS)
def test_original_files_are_read(
    dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: None, run_config: Compose
) -> None:
    train, test = small_set(dataset, tmp_path, monkeypatch)
    facts = CATALOGUE[dataset]
    K = facts.num_classes
    for read, written in zip(read_splits(dataset, tmp_path), (train, test), strict=True):
        assert np.array_equal(read.images, written.images)  # (N, C, H, W), pixel by pixel
        assert read.labels.tolist() == written.labels.tolist()
    chosen = (f"dataset={dataset}", f"counts={[2] * K}", "subset=first")
    run = run_config(*chosen, "dataset.size=null", "dataset.channels=null")
    data = load_run_data(run, tmp_path, CPU, torch.float32)
    assert data.train_images.shape == (2 * K, *facts.image_shape)
    assert data.train_labels.tolist() == list(range(K)) * 2
    assert data.test_labels.tolist() == test.labels.tolist()
    for channel, (mean, std) in enumerate(zip(facts.mean, facts.std, strict=True)):
        wanted = (train.images[: 2 * K, channel].astype(np.float64) / 255 - mean) / std
        assert np.allclose(data.train_images[:, channel], wanted, atol=1e-5)
        wanted = (test.images[:, channel].astype(np.float64) / 255 - mean) / std
        assert np.allclose(data.test_images[:, channel], wanted, atol=1e-5)
    assert load_run_data(run_config(*chosen), tmp_path, CPU, torch.float32).train_images.shape == (2 * K, 3, 32, 32)


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
        read_splits("emnist_letters", tmp_path)
    assert str(path) in str(told.value)


def test_emnist_files_that_do_not_belong_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_set("emnist_letters", tmp_path, monkeypatch)
    write_idx(tmp_path / "EMNIST" / "raw", "emnist-letters-train-labels-idx1-ubyte", np.arange(1, 27))
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte is damaged, or .* 78 images and 26 labels"):
        read_splits("emnist_letters", tmp_path)


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
    run_config: Compose,
) -> None:
    """z, the highest class, does not occur; a run on others does not need it."""
    small_set("emnist_letters", tmp_path, monkeypatch)
    path = tmp_path / "EMNIST" / "raw" / f"emnist-letters-{split}-labels-idx1-ubyte"
    content = path.read_bytes()
    path.write_bytes(content[:8] + content[8:].replace(bytes([26]), bytes([1])))
    typed = ("dataset=emnist_letters", f"data_dir={tmp_path}", "counts=[1,1]")
    for classes in ("classes=[0,25]", "classes=[25,0]"):
        assert f"its files hold {word} of class 25" in refused("train", *typed, classes)
    load_run_data(run_config(*typed, "classes=[24,0]"), tmp_path, CPU, torch.float32)


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
    train, test = read_splits(dataset, folder)
    facts = CATALOGUE[dataset]
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
        read_splits("mnist", workdir / "data")
    assert [path.name for path in (workdir / "data").iterdir()] == ["mine"]
