"""A network's features in evaluation mode: all at once for images in memory, block by block for streamed ones."""

from collections.abc import Iterator, Sequence
from math import prod

import numpy as np
import torch
from torch import Tensor

from ncrun.data.streamed import PartOfStreamed, StreamedImages
from ncrun.models.free_model import FreeFeatures
from ncrun.models.network import Network
from ncrun.models.taps import tapped
from ncrun.training.gradients import tf32
from ncrun.training.ranks import ALONE, Ranks

# Activations of more rows do not fit the cache, and each would be allocated by the system again. Large images go
# through in smaller blocks, because their activations need the memory.
FORWARD_ROWS, FEWEST_ROWS = 512, 32
FORWARD_NUMBERS = 2**21

Images = Tensor | StreamedImages | PartOfStreamed


@torch.no_grad()
@tf32(False)
def features_of(
    network: Network | FreeFeatures, images: Images, taps: Sequence[str] = ()
) -> tuple[Tensor, dict[str, Tensor]]:
    """(N, d) features of (N, C, H, W) images, and by name the outputs of tapped layers, in evaluation mode and the
    parameters' own precision.

    Raises FloatingPointError if a feature is not finite.
    """
    network.eval()
    whole: dict[str, Tensor] = {}  # by tap, and the features under ""
    finite = torch.ones((), dtype=torch.bool, device=images.device)
    for part, block in in_parts(images, forward_rows(images)):
        if isinstance(network, FreeFeatures):
            seen = {"": network.features(block)}
        else:
            found, seen = tapped(network.backbone, block, taps)
            seen[""] = found
        # Smallest and largest are NaN if one feature is. Looking at these two alone takes a tenth of the time.
        finite &= torch.isfinite(torch.stack(seen[""].aminmax())).all()
        for name, points in seen.items():
            if name not in whole:
                whole[name] = points.new_empty(len(images), points.shape[1])
            whole[name][part] = points
    if not bool(finite):
        raise FloatingPointError("the features are not finite")
    return whole.pop(""), whole


class FeaturesInBlocks:
    """Features of streamed images, or of a share of them, as points (ncrun.metrics.scatter.Points). They are stored
    after the first pass if they fit into `room`; else the images go through the network each time.

    labels: (N,). room: bytes on the device. ranks: the processes with the other images of the split.
    """

    def __init__(
        self,
        network: Network,
        images: Images,
        labels: Tensor,
        room: int,
        ranks: Ranks = ALONE,
    ) -> None:
        self._network, self._images, self._labels, self._ranks = network, images, labels, ranks
        weight = network.head.weights[0]
        self.precision, self.width, self.device = weight.dtype, weight.shape[1], images.device
        self._may_hold = len(images) * self.width * weight.element_size() <= room
        self._held: Tensor | None = None
        self.smallest = float("inf")

    def blocks(self, rows: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Blocks of exactly this many rows, so that sums have the same order as in memory. Raises FloatingPointError if
        a feature is not finite."""
        if self._held is not None:
            yield self._held, self._labels
            return
        number = len(self._images) if self._may_hold else 0
        held = torch.empty(number, self.width, dtype=self.precision, device=self.device)
        waiting: list[Tensor] = []
        at = 0
        for part, features in self._forward():
            if self._may_hold:
                held[part] = features
            waiting.append(features)
            is_last = part.stop == len(self._images)
            while sum(map(len, waiting)) >= rows or (is_last and waiting):
                whole = torch.cat(waiting)
                yield whole[:rows], self._labels[at : at + rows]
                at += rows
                waiting = [whole[rows:]] if len(whole) > rows else []
        if self._may_hold:
            self._held = held

    def add_others(self, sums: Sequence[Tensor]) -> None:
        """Add the sums of the other ranks."""
        self._ranks.add(sums)

    def _forward(self) -> Iterator[tuple[slice, Tensor]]:
        self._network.eval()
        for part, block in in_parts(self._images, forward_rows(self._images)):
            with torch.no_grad(), tf32(False):
                features: Tensor = self._network.backbone(block)
            smallest, largest = (float(end) for end in features.aminmax())
            finite = abs(smallest) < float("inf") and abs(largest) < float("inf")  # false if one is NaN
            if not finite and self._ranks.number == 1:  # else the sums of all ranks report it to all of them
                raise FloatingPointError("the features are not finite")
            self.smallest = min(self.smallest, smallest)
            yield part, features


@torch.no_grad()
@tf32(False)
def features_at(network: Network | FreeFeatures, images: Tensor | StreamedImages, rows: Tensor) -> Tensor:
    """(B, d) features of the images with these numbers, in evaluation mode. Raises OSError for streamed images that
    cannot be read any more."""
    assert isinstance(network, Network)
    network.eval()
    numbers = rows.numpy()
    pieces = [numbers[start : start + FEWEST_ROWS] for start in range(0, len(numbers), FEWEST_ROWS)]
    blocks = (images[piece] for piece in pieces) if isinstance(images, Tensor) else images.batches(pieces)
    return torch.cat([network.backbone(block) for block in blocks])


def first_images(images: Tensor | StreamedImages, number: int) -> Tensor:
    """The first images, at most `number`. Raises OSError if streamed ones cannot be read any more."""
    if isinstance(images, Tensor):
        return images[:number]
    (block,) = images.batches([np.arange(min(number, len(images)))])
    return block


def forward_rows(images: Images) -> int:
    """How many images go through a network at once. The number is the same for streamed images, because it decides the
    last bits of the features."""
    return min(FORWARD_ROWS, max(FEWEST_ROWS, FORWARD_NUMBERS // max(1, prod(images.shape[1:]))))


def in_parts(images: Images, rows: int) -> Iterator[tuple[slice, Tensor]]:
    """Blocks of consecutive images, and their slices."""
    parts = [slice(start, min(start + rows, len(images))) for start in range(0, len(images), rows)]
    if isinstance(images, Tensor):
        yield from ((part, images[part]) for part in parts)
    else:
        yield from zip(parts, images.batches([np.arange(part.start, part.stop) for part in parts]), strict=True)
