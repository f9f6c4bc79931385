"""The data of a run as tensors on its device."""

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

from ncrun.data.request import DataRequest, FreeSamples, FreeTargets
from ncrun.data.source import DataSetFacts, Source
from ncrun.data.splits import HELD_OUT, LabelledImages, channel_moments, of_classes
from ncrun.data.subset import choose_indices, indices_hash, shuffled_labels
from ncrun.errors import UserError


@dataclass(frozen=True)
class RunData:
    """A run's tensors on its device: normalised images (N, C, H, W) and labels (N,), or (N, q) float64 targets in their
    place; index_hash names the chosen samples. For free features the "images" are the samples' numbers, and there is no
    test split."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor | None
    test_labels: Tensor | None
    index_hash: str | None


def labels_only(counts: Sequence[int], device: torch.device) -> RunData:
    """Of free features: class by class, as often as `counts` says."""
    labels = torch.repeat_interleave(torch.tensor(counts)).to(device)
    return RunData(torch.arange(len(labels), device=device), labels, None, None, None)


def _targets_only(request: FreeTargets, device: torch.device) -> RunData:
    train, _ = request.source.read(request.folder)
    targets = torch.from_numpy(train.labels).to(device)
    return RunData(torch.arange(len(targets), device=device), targets, None, None, None)


def load(request: DataRequest | FreeSamples | FreeTargets, device: torch.device, dtype: torch.dtype) -> RunData:
    """Read, choose, normalise, and put on the device.

    Raises UserError if the files are missing or damaged, or lack samples of a class that the run wants.
    """
    if isinstance(request, FreeSamples):
        return labels_only(request.counts, device)
    if isinstance(request, FreeTargets):
        return _targets_only(request, device)
    whole, whole_test = request.source.read(request.folder)
    if not whole.holds_targets:
        _refuse_too_few(request, _sizes(whole), _sizes(whole_test))
    facts, shape = request.source.facts, request.image_shape
    if facts.mean is None:
        mean, std = channel_moments(whole.images, facts.largest)
        facts = replace(facts, mean=mean, std=std)
    train, test = of_classes(whole, request.classes), of_classes(whole_test, request.classes)
    indices = np.arange(len(train.labels))  # of targets all
    if not whole.holds_targets:
        indices = choose_indices(train.labels, request.counts, request.subset, request.seed)
    labels = shuffled_labels(train.labels[indices], request.random_labels, request.seed)
    return RunData(
        normalise(train.images[indices], facts, shape, device, dtype),
        torch.from_numpy(labels).to(device),
        normalise(test.images, facts, shape, device, dtype),
        torch.from_numpy(test.labels).to(device),
        indices_hash(indices),
    )


def check(request: DataRequest | FreeSamples | FreeTargets) -> None:
    """Raise what `load` would raise. A process reads the same files once, however many runs ask."""
    if isinstance(request, DataRequest) and request.source.facts.targets is None:
        _refuse_too_few(request, *_sizes_of_splits(request.source, request.folder))


@cache
def _sizes_of_splits(source: Source, folder: Path) -> tuple[tuple[int, ...], tuple[int, ...]]:
    train, test = source.read(folder)
    return _sizes(train), _sizes(test)


def _sizes(split: LabelledImages) -> tuple[int, ...]:
    return tuple(np.bincount(split.labels).tolist())


def _refuse_too_few(request: DataRequest, train_sizes: Sequence[int], test_sizes: Sequence[int]) -> None:
    """One line if the files hold fewer samples of a class than the run takes, or none to test it on."""
    name = request.source.name
    for k, count in zip(request.chosen, request.counts, strict=True):
        train_size, test_size = (sizes[k] if k < len(sizes) else 0 for sizes in (train_sizes, test_sizes))
        if train_size < count:
            raise UserError(f"dataset={name}: its files hold {train_size} training samples of class {k}, not {count}")
        if test_size == 0:
            held_out = f" (without a test split, every {HELD_OUT}th sample of a class is kept for testing)"
            hint = "" if request.source.has_test_split else held_out
            raise UserError(f"dataset={name}: its files hold no test sample of class {k}{hint}")


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
