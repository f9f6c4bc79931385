"""The data of a run as tensors on its device."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ncrun.data.moments import channel_moments
from ncrun.data.request import DataRequest, FreeSamples, FreeTargets
from ncrun.data.source import DataSetFacts, Source
from ncrun.data.stored import blocks_of
from ncrun.data.subset import chosen, refuse_too_few, sizes


@dataclass(frozen=True)
class RunData:
    """A run's tensors on its device: normalised images (N, C, H, W), and labels (N,) or float64 targets (N, q).
    index_hash identifies the chosen samples. For free features the "images" are the samples' numbers, and there is no
    test split."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor | None
    test_labels: Tensor | None
    index_hash: str | None

    def batches(self, order: Tensor | None, parts: Sequence[slice]) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and labels of consecutive parts of an order of the training samples; None: their own order."""
        images, labels = self.train_images, self.train_labels
        if order is not None:
            order = order.to(labels.device)
        for part in parts:
            chosen = part if order is None else order[part]
            yield images[chosen], labels[chosen]


def labels_only(counts: Sequence[int], device: torch.device) -> RunData:
    """Labels of free features: class by class, by `counts`."""
    labels = torch.repeat_interleave(torch.tensor(counts)).to(device)
    return RunData(torch.arange(len(labels), device=device), labels, None, None, None)


def _targets_only(request: FreeTargets, device: torch.device) -> RunData:
    train, _ = request.source.read(request.folder)
    targets = torch.from_numpy(train.labels).to(device)
    return RunData(torch.arange(len(targets), device=device), targets, None, None, None)


def load(request: DataRequest | FreeSamples | FreeTargets, device: torch.device, dtype: torch.dtype) -> RunData:
    """Reads, chooses and normalises the data, and puts them on the device.

    Raises UserError if the files are missing or damaged, or have too few samples of a class.
    """
    if isinstance(request, FreeSamples):
        return labels_only(request.counts, device)
    if isinstance(request, FreeTargets):
        return _targets_only(request, device)
    train, test = request.source.read(request.folder)
    taken = chosen(request, train.labels, test.labels)
    facts, shape = request.source.facts, request.image_shape
    if facts.mean is None:
        images, parts = train.images, list(blocks_of(len(train.images), train.images.shape[1:]))
        found = channel_moments(lambda: (images[part] for part in parts), images.dtype, facts.largest)
        facts = facts.normalised(found)
    return RunData(
        normalise(train.images[taken.train_rows], facts, shape, device, dtype),
        torch.from_numpy(taken.train_labels).to(device),
        normalise(test.images[taken.test_rows], facts, shape, device, dtype),
        torch.from_numpy(taken.test_labels).to(device),
        taken.index_hash,
    )


def check(request: DataRequest | FreeSamples | FreeTargets) -> None:
    """Raises the errors of `load`. A process reads the same files once for all runs."""
    if isinstance(request, DataRequest) and request.source.facts.targets is None:
        refuse_too_few(request, *_sizes_of_splits(request.source, request.folder))


@cache
def _sizes_of_splits(source: Source, folder: Path) -> tuple[tuple[int, ...], tuple[int, ...]]:
    train, test = source.read(folder)
    return sizes(train.labels), sizes(test.labels)


def normalise(
    images: NDArray[Any],
    facts: DataSetFacts,
    image_shape: tuple[int, int, int],
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:
    """Pixels over their largest value, minus the mean, over the standard deviation, per channel; then grey repeated
    over the channels, and resized (bilinear, with antialiasing), in the order of the code of Dang et al. 2024.

    Floats may be far from zero in units of their deviation, so they are normalised in float64.
    """
    working = dtype if images.dtype == np.uint8 else torch.float64
    pixels = torch.from_numpy(images).to(device=device, dtype=working, copy=True).div_(facts.largest)
    mean = torch.tensor(facts.mean, dtype=working, device=device)[:, None, None]
    std = torch.tensor(facts.std, dtype=working, device=device)[:, None, None]
    pixels = pixels.sub_(mean).div_(std).to(dtype)
    if pixels.shape[2:] != image_shape[1:]:
        pixels = functional.interpolate(pixels, image_shape[1:], mode="bilinear", antialias=True)
    return pixels.expand(-1, image_shape[0], -1, -1).contiguous()
