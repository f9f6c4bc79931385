"""Augmentation: random changes to a batch of images, all at once on the device."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

# Share of an image's height and width: 4 pixels at 32 x 32, the usual margin for CIFAR.
MARGIN = 8


def augmented(
    images: Tensor, kinds: Sequence[str], generator: torch.Generator, batch: int = 0, part: slice = slice(None)
) -> Tensor:
    """(B, C, H, W) images after random changes, drawn for each image on the CPU, so that all devices agree. batch:
    number of images in the whole batch, if these are only a part of it; else 0.

    crop: moved by up to an eighth of the size each way, filled with 0, the training set's mean.
    flip: mirrored left to right, every other image on average.
    """
    _, _, height, width = images.shape
    batch = batch or len(images)
    if "crop" in kinds:
        rows = _positions(batch, height, generator)[part].to(images.device)
        columns = _positions(batch, width, generator)[part].to(images.device)
        margins = (width // MARGIN,) * 2 + (height // MARGIN,) * 2
        framed = functional.pad(images, margins)
        image = torch.arange(len(images), device=images.device)
        images = framed[image[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    if "flip" in kinds:
        chosen = (torch.rand(batch, generator=generator) < 0.5)[part].to(images.device)
        images = torch.where(chosen[:, None, None, None], images.flip(3), images)
    return images


def _positions(number: int, size: int, generator: torch.Generator) -> Tensor:
    """(number, size): for each image, its rows (or columns) of the padded image."""
    starts = torch.randint(2 * (size // MARGIN) + 1, (number, 1), generator=generator)
    return starts + torch.arange(size)
