"""A user's own data, tiny: folders of images and .npz files, written in their original formats."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ncrun.data.tensors import RunData, load
from ncrun.run import Run

NAMES = ("apple", "bear", "crab")


def loaded(run: Run, dtype: torch.dtype = torch.float64) -> RunData:
    return load(run.data, torch.device("cpu"), dtype)


def standardised(images: np.ndarray, training: np.ndarray) -> np.ndarray:
    """(N, C, H, W) minus the training images' mean over their deviation, in numpy's own float64 formulas."""
    training = training.astype(np.float64)
    mean, std = (f(axis=(0, 2, 3), keepdims=True) for f in (training.mean, training.std))
    return (images.astype(np.float64) - mean) / std


def arrays(shape: tuple[int, ...] = (5, 4, 3), dtype: str = "uint8", sizes: tuple[int, ...] = (10, 7, 5)) -> dict:
    """train_images and train_labels, classes mixed; shape: of one sample."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    images = (
        rng.integers(0, 256, (len(labels), *shape)) if dtype == "uint8" else rng.normal(7, 3, (len(labels), *shape))
    )
    return {"train_images": images.astype(dtype), "train_labels": labels}


def with_test(**changes) -> dict:
    """The same and a test split of two of each class."""
    test = arrays(sizes=(2, 2, 2))
    return arrays() | {"test_images": test["train_images"], "test_labels": test["train_labels"]} | changes


def write_npz(folder: Path, content: dict, name: str = "own.npz") -> tuple[str, str]:
    """The overrides for a file of these arrays."""
    np.savez(folder / name, **content)
    return "dataset=npz", f"dataset.path={folder / name}"


def write_images(root: Path, sizes: tuple[int, ...] = (7, 6, 5), mode: str = "RGB", shape: tuple[int, int] = (6, 6)):
    """NAMES[k]/0.png ..; returns (N, C, H, W) in the order of classes and names."""
    rng = np.random.default_rng(len(root.name))
    channels = len(Image.new(mode, (1, 1)).getbands())
    made = []
    for name, size in zip(NAMES, sizes, strict=False):
        (root / name).mkdir(parents=True)
        for i in range(size):
            pixels = rng.integers(0, 256, (*shape, channels), dtype=np.uint8)
            Image.fromarray(pixels.squeeze() if channels == 1 else pixels, mode=None).save(root / name / f"{i}.png")
            made.append(pixels.transpose(2, 0, 1))
    return np.stack(made)


def folder(root: Path, size: int = 6, channels: int = 3) -> tuple[str, ...]:
    return "dataset=image_folder", f"dataset.path={root}", f"dataset.size={size}", f"dataset.channels={channels}"
