"""Tiny data sets in their original formats, written to a folder, and torchvision told of their sums."""

import hashlib
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ncrun.data import SOURCES
from ncrun.data.splits import LabelledImages
from ncrun.data.tensors import RunData, load
from ncrun.run import Run


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
        source = type(SOURCES[dataset])
        assert sums.keys() == source.idx_md5.keys()
        monkeypatch.setattr(source, "idx_md5", sums)
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


def load_from(folder: Path, run: Run) -> RunData:
    """A run's tensors out of a folder that it does not name."""
    return load(replace(run.data, folder=folder), torch.device("cpu"), torch.float32)
