"""Data sets from disk to tensors: scikit-learn's digits, and MNIST, FashionMNIST and CIFAR-10 through torchvision's
classes."""

import contextlib
import hashlib
import io
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ncrun.data.catalogue import CATALOGUE, DataSetFacts
from ncrun.data.subset import choose_indices, indices_hash
from ncrun.errors import UserError

DOWNLOAD_TIMEOUT_S = 10

# torchvision checks the archives it downloads, but not the unpacked idx files it finds: these are their MD5 sums.
IDX_MD5 = {
    "mnist": {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "fashion_mnist": {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
}


@dataclass(frozen=True)
class LabelledImages:
    """images: (N, C, H, W) uint8 (digits: 0..16). labels: (N,) int64."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class RunData:
    """A run's tensors on its device: normalised images (N, C, H, W) and labels (N,); index_hash names the chosen
    samples. For free features the "images" are the samples' numbers, and there is no test split."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor | None
    test_labels: Tensor | None
    index_hash: str | None


def free_feature_data(counts: Sequence[int], device: torch.device) -> RunData:
    """Labels alone: class by class, as often as `counts` says."""
    labels = torch.repeat_interleave(torch.tensor(counts)).to(device)
    return RunData(torch.arange(len(labels), device=device), labels, None, None, None)


def load_run_data(
    dataset: str,
    counts: Sequence[int],
    subset: str | None,
    seed: int,
    folder: Path,
    device: torch.device,
    dtype: torch.dtype,
) -> RunData:
    """Read, choose, normalise, and put on the device. Raises UserError if the files are missing or damaged."""
    train, test = read_splits(dataset, folder)
    facts = CATALOGUE[dataset]
    indices = choose_indices(train.labels, counts, subset or "first", seed)
    return RunData(
        normalise(train.images[indices], dataset, facts, device, dtype),
        torch.from_numpy(train.labels[indices]).to(device),
        normalise(test.images, dataset, facts, device, dtype),
        torch.from_numpy(test.labels).to(device),
        indices_hash(indices),
    )


def normalise(
    images: NDArray[np.uint8], dataset: str, facts: DataSetFacts, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Pixels scaled to [0, 1], minus the mean, over the standard deviation, per channel."""
    largest = 16.0 if dataset == "digits" else 255.0
    pixels = torch.from_numpy(images).to(device=device, dtype=dtype).div_(largest)
    mean = torch.tensor(facts.mean, dtype=dtype, device=device)[:, None, None]
    std = torch.tensor(facts.std, dtype=dtype, device=device)[:, None, None]
    return pixels.sub_(mean).div_(std)


def read_splits(dataset: str, folder: Path) -> tuple[LabelledImages, LabelledImages]:
    """The training and the test split of a data set under `folder`, downloaded if torchvision can."""
    if dataset == "digits":
        return _read_digits()
    source = _torchvision_class(dataset)
    base = _base(dataset, source, folder)
    _refuse_damaged(dataset, source, base)
    absent = [path for path in (base, *base.parents) if path.is_relative_to(folder) and not path.exists()]
    try:
        train, test = (_open(source, folder, train=is_train) for is_train in (True, False))
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        for path in absent:  # what a failed download leaves behind, deepest first; never a folder that was there
            with contextlib.suppress(OSError):
                path.rmdir()
        if isinstance(error, PermissionError):
            raise UserError(f"data_dir={folder}: not writable, and {dataset} is not there") from error
        raise UserError(
            f"dataset={dataset}: no files in {folder} and no download ({_first_line(error)}); either put the files"
            f" there as torchvision lays them out ({_layout(dataset)}), or name the folder that holds them by"
            " data_dir=... or NCRUN_DATA"
        ) from error
    return train, test


def _read_digits() -> tuple[LabelledImages, LabelledImages]:
    """scikit-learn's 1797 images of 8 x 8, every fifth of each class, in the set's order, kept for testing."""
    from sklearn.datasets import load_digits

    bundle = load_digits()
    images = bundle.images.astype(np.uint8)[:, None]
    labels = bundle.target.astype(np.int64)
    is_test = np.zeros(len(labels), dtype=bool)
    for k in range(10):
        is_test[np.flatnonzero(labels == k)[4::5]] = True
    return (
        LabelledImages(images[~is_test], labels[~is_test]),
        LabelledImages(images[is_test], labels[is_test]),
    )


def _torchvision_class(dataset: str) -> Any:
    try:
        from torchvision import datasets
    except RuntimeError as error:
        if "torchvision::nms" in str(error):
            raise UserError(
                "torch and torchvision come from different builds; install both in one command from one index"
                " (the Makefile does: remove .venv and run make)"
            ) from error
        raise
    return {"mnist": datasets.MNIST, "fashion_mnist": datasets.FashionMNIST, "cifar10": datasets.CIFAR10}[dataset]


def _open(source: Any, folder: Path, train: bool) -> LabelledImages:
    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_S)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            split = source(root=str(folder), train=train, download=True)
    finally:
        socket.setdefaulttimeout(previous)
    images, labels = np.asarray(split.data), np.asarray(split.targets, dtype=np.int64)
    images = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    return LabelledImages(np.ascontiguousarray(images), labels)


def _base(dataset: str, source: Any, folder: Path) -> Path:
    """Where torchvision keeps a data set's unpacked files."""
    return folder / (str(source.base_folder) if dataset == "cifar10" else f"{source.__name__}/raw")


def _refuse_damaged(dataset: str, source: Any, base: Path) -> None:
    """One line naming the file, before torchvision would trip over it or silently fetch everything again."""
    if dataset == "cifar10":
        expected = dict((*source.train_list, *source.test_list, (source.meta["filename"], source.meta["md5"])))
    else:
        expected = IDX_MD5[dataset]
    for name, md5 in expected.items():
        path = base / name
        if path.is_file() and hashlib.md5(path.read_bytes()).hexdigest() != md5:
            raise UserError(
                f"dataset={dataset}: {path} is damaged (its MD5 is not {md5}); delete it to have it fetched again"
            )


def _layout(dataset: str) -> str:
    folders = {"mnist": "MNIST/raw/*-ubyte", "fashion_mnist": "FashionMNIST/raw/*-ubyte"}
    return folders.get(dataset, "cifar-10-batches-py/data_batch_1 ...")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
