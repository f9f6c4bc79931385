"""Random changes to a batch of images that keep their classes, all images of the batch at once on the device."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

# Of an image's height and width: 4 pixels at 32 x 32, the usual margin for CIFAR.
MARGIN = 8


def augmented(images: Tensor, kinds: Sequence[str], generator: torch.Generator) -> Tensor:
    """(B, C, H, W) images after random changes, each image its own; drawn on the CPU, the same for every device.

    crop: moved by up to an eighth of the size each way; what comes in from outside is 0, the training set's mean.
    flip: mirrored left to right, every other image on average.
    """
    B, _, height, width = images.shape
    if "crop" in kinds:
        rows = _positions(B, height, generator).to(images.device)
        columns = _positions(B, width, generator).to(images.device)
        margins = (width // MARGIN,) * 2 + (height // MARGIN,) * 2
        framed = functional.pad(images, margins)
        image = torch.arange(B, device=images.device)
        images = framed[image[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    if "flip" in kinds:
        chosen = (torch.rand(B, generator=generator) < 0.5).to(images.device)
        images = torch.where(chosen[:, None, None, None], images.flip(3), images)
    return images


def _positions(number: int, size: int, generator: torch.Generator) -> Tensor:
    """(number, size): for each image, which of the framed rows (or columns) it takes."""
    starts = torch.randint(2 * (size // MARGIN) + 1, (number, 1), generator=generator)
    return starts + torch.arange(size)
