"""Data sets from disk to tensors: the user's own, scikit-learn's digits, the others through torchvision's classes."""

import contextlib
import hashlib
import io
import math
import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ncrun.config import RunConfig
from ncrun.data.catalogue import CATALOGUE, DataSetFacts
from ncrun.data.own import OwnData
from ncrun.data.splits import HELD_OUT, LabelledImages, channel_moments, hold_out, of_classes
from ncrun.data.subset import choose_indices, indices_hash, shuffled_labels
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


def load_run_data(run: RunConfig, folder: Path, device: torch.device, dtype: torch.dtype) -> RunData:
    """Read, choose, normalise, and put on the device.

    Raises UserError if the files are missing or damaged, or lack samples of a class that the run wants.
    """
    whole, whole_test = read_splits(_source(run), folder)
    _refuse_too_few(run, _sizes(whole), _sizes(whole_test))
    facts, shape = run.facts, run.image_shape
    if facts.mean is None:
        mean, std = channel_moments(whole.images, facts.largest)
        facts = replace(facts, mean=mean, std=std)
    train, test = of_classes(whole, run.classes), of_classes(whole_test, run.classes)
    indices = choose_indices(train.labels, run.class_counts(), run.subset or "first", run.seed)
    labels = shuffled_labels(train.labels[indices], run.random_labels, run.seed)
    return RunData(
        normalise(train.images[indices], facts, shape, device, dtype),
        torch.from_numpy(labels).to(device),
        normalise(test.images, facts, shape, device, dtype),
        torch.from_numpy(test.labels).to(device),
        indices_hash(indices),
    )


def check_run_data(run: RunConfig, folder: Path) -> None:
    """Raise what `load_run_data` would raise. A process reads the same files once, however many runs ask."""
    _refuse_too_few(run, *_sizes_of_splits(_source(run), folder))


def _source(run: RunConfig) -> OwnData | str:
    assert run.dataset is not None
    return run.own_data or run.dataset.name


@cache
def _sizes_of_splits(source: OwnData | str, folder: Path) -> tuple[tuple[int, ...], tuple[int, ...]]:
    train, test = read_splits(source, folder)
    return _sizes(train), _sizes(test)


def _sizes(split: LabelledImages) -> tuple[int, ...]:
    return tuple(np.bincount(split.labels).tolist())


def _refuse_too_few(run: RunConfig, train_sizes: Sequence[int], test_sizes: Sequence[int]) -> None:
    """One line if the files hold fewer samples of a class than the run takes, or none to test it on."""
    assert run.dataset is not None
    for k, count in zip(run.classes or range(run.num_classes), run.class_counts(), strict=True):
        train_size, test_size = (sizes[k] if k < len(sizes) else 0 for sizes in (train_sizes, test_sizes))
        if train_size < count:
            raise UserError(
                f"dataset={run.dataset.name}: its files hold {train_size} training samples of class {k}, not {count}"
            )
        if test_size == 0:
            hint = f" (without a test split, every {HELD_OUT}th sample of a class is kept for testing)"
            raise UserError(
                f"dataset={run.dataset.name}: its files hold no test sample of class {k}{hint if run.own_data else ''}"
            )


def normalise(
    images: NDArray[Any],
    facts: DataSetFacts,
    image_shape: tuple[int, int, int],
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:
    """Pixels over their largest value, minus the mean, over the standard deviation, per channel; then grey repeated to
    so many channels and resized (bilinear, with antialiasing), in the order of the released code of Dang et al. 2024.

    Floats, which may be far from zero in units of their deviation, are normalised in float64.
    """
    working = dtype if images.dtype == np.uint8 else torch.float64
    pixels = torch.from_numpy(images).to(device=device, dtype=working, copy=True).div_(facts.largest)
    mean = torch.tensor(facts.mean, dtype=working, device=device)[:, None, None]
    std = torch.tensor(facts.std, dtype=working, device=device)[:, None, None]
    pixels = pixels.sub_(mean).div_(std).to(dtype)
    if pixels.shape[2:] != image_shape[1:]:
        pixels = functional.interpolate(pixels, image_shape[1:], mode="bilinear", antialias=True)
    return pixels.expand(-1, image_shape[0], -1, -1).contiguous()


def read_splits(dataset: OwnData | str, folder: Path) -> tuple[LabelledImages, LabelledImages]:
    """The training and the test split of the user's own data, or of a known data set: under `folder`, downloaded if
    torchvision can."""
    if not isinstance(dataset, str):
        return dataset.read()
    if dataset == "digits":
        return _read_digits()
    source = _torchvision_class(dataset)
    base = _base(dataset, source, folder)
    _refuse_damaged(dataset, source, base)
    absent = [path for path in (base, *base.parents) if path.is_relative_to(folder) and not path.exists()]
    try:
        train, test = (_open(dataset, source, folder, train=is_train) for is_train in (True, False))
    except (OSError, RuntimeError, ValueError, EOFError, AssertionError) as error:
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
    return hold_out(LabelledImages(images, bundle.target.astype(np.int64)))


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
    classes = {
        "mnist": datasets.MNIST,
        "fashion_mnist": datasets.FashionMNIST,
        "emnist_letters": datasets.EMNIST,
        "cifar10": datasets.CIFAR10,
        "cifar100": datasets.CIFAR100,
        "svhn": datasets.SVHN,
    }
    return classes[dataset]


def _open(dataset: str, source: Any, folder: Path, train: bool) -> LabelledImages:
    which: dict[str, Any] = {"train": train}
    if dataset == "svhn":
        which = {"split": "train" if train else "test"}
    elif dataset == "emnist_letters":
        which["split"] = "letters"
    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_S)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            split = source(root=str(folder), download=True, **which)
    finally:
        socket.setdefaulttimeout(previous)
    images = np.asarray(split.data)
    labels = np.asarray(split.labels if dataset == "svhn" else split.targets, dtype=np.int64)
    if dataset == "emnist_letters":
        if labels.min() < 1 or labels.max() > 26:
            raise UserError(
                f"dataset={dataset}: {split.labels_file} is damaged (its labels are {labels.min()} to {labels.max()},"
                " not 1 to 26)"
            )
        labels = labels - 1  # the letters are numbered from 1
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[-1] == 3:
        images = images.transpose(0, 3, 1, 2)
    return LabelledImages(np.ascontiguousarray(images), labels)


def _base(dataset: str, source: Any, folder: Path) -> Path:
    """Where torchvision keeps a data set's unpacked files."""
    if dataset == "svhn":
        return folder
    return folder / (str(source.base_folder) if dataset.startswith("cifar") else f"{source.__name__}/raw")


def _refuse_damaged(dataset: str, source: Any, base: Path) -> None:
    """One line naming the file, before torchvision would trip over it or silently fetch everything again."""
    if dataset == "emnist_letters":
        for split in ("train", "test"):
            _refuse_broken_idx(base, f"emnist-letters-{split}")
        return
    if dataset.startswith("cifar"):
        expected = dict((*source.train_list, *source.test_list, (source.meta["filename"], source.meta["md5"])))
    elif dataset == "svhn":
        expected = {name: md5 for _, name, md5 in source.split_list.values()}
        expected.pop("extra_32x32.mat")
    else:
        expected = IDX_MD5[dataset]
    for name, md5 in expected.items():
        path = base / name
        if path.is_file() and hashlib.md5(path.read_bytes()).hexdigest() != md5:
            raise UserError(
                f"dataset={dataset}: {path} is damaged (its MD5 is not {md5}); delete it to have it fetched again"
            )


def _refuse_broken_idx(base: Path, prefix: str) -> None:
    """EMNIST, of whose unpacked files no sums are published: an idx file is as long as its header says."""
    lengths = {}
    for kind, image_shape in (("images-idx3", CATALOGUE["emnist_letters"].image_shape[1:]), ("labels-idx1", ())):
        path = base / f"{prefix}-{kind}-ubyte"
        if not path.is_file():
            continue
        with path.open("rb") as file:
            # Two zero bytes, 8 for unsigned bytes, the number of axes, and each axis' length in four bytes.
            header = np.frombuffer(file.read(4 * (2 + len(image_shape))), dtype=np.uint8)
        words = header[: len(header) // 4 * 4].view(">u4").tolist()
        whole = len(words) == 2 + len(image_shape) and words[0] == 0x801 + len(image_shape)
        if not whole or tuple(words[2:]) != image_shape or path.stat().st_size != len(header) + math.prod(words[1:]):
            raise UserError(
                f"dataset=emnist_letters: {path} is damaged (it is not as long as an idx file of its header);"
                " delete it to have it fetched again"
            )
        lengths[path] = words[1]
    if len(set(lengths.values())) > 1:
        images, labels = lengths
        raise UserError(
            f"dataset=emnist_letters: {images} is damaged, or {labels.name} (they hold {lengths[images]} images and"
            f" {lengths[labels]} labels)"
        )


def _layout(dataset: str) -> str:
    return {
        "mnist": "MNIST/raw/*-ubyte",
        "fashion_mnist": "FashionMNIST/raw/*-ubyte",
        "emnist_letters": "EMNIST/raw/emnist-letters-*-ubyte",
        "cifar10": "cifar-10-batches-py/data_batch_1 ...",
        "cifar100": "cifar-100-python/train ...",
        "svhn": "train_32x32.mat and test_32x32.mat",
    }[dataset]


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
