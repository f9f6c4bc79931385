"""Streamed data, which stay on the disk: the same as in `ncrun.data.tensors`, to the bit, but read when needed."""

import contextlib
import ctypes
import errno
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ncrun.data.reader import Reader, Rows
from ncrun.data.remembered_moments import moments_of
from ncrun.data.request import DataRequest
from ncrun.data.source import DataSetFacts
from ncrun.data.stored import Stored
from ncrun.data.subset import chosen, refuse_too_few, sizes
from ncrun.data.tensors import normalise
from ncrun.errors import UserError

# Samples that a process reads at once: few, so that the first ones come soon and little is in memory.
PIECE = 32
MMAP_THRESHOLD, LARGE_BLOCK = -3, 2 << 20  # glibc's M_MMAP_THRESHOLD, and bytes


@dataclass(frozen=True)
class Streaming:
    """cache: bytes of images, as on the disk, to keep. workers: reading processes; 0: none.
    features: bytes on the device for features while they are measured."""

    cache: int
    workers: int
    features: int


class StreamedImages:
    """Normalised images (N, C, H, W), put on the device when they are requested.

    As many as fit are kept, spread evenly over the split. The order of an epoch is random, so no other choice would be
    used more often.
    """

    def __init__(
        self,
        reader: Reader,
        split: int,
        rows: Rows,
        facts: DataSetFacts,
        shape: tuple[int, int, int],
        device: torch.device,
        dtype: torch.dtype,
        room: int,
    ) -> None:
        """rows: (N,), the samples' numbers in the split. room: bytes to keep."""
        self._reader, self._split, self._rows = reader, split, rows
        self._facts, self.device, self._dtype = facts, device, dtype
        self.shape = (len(rows), *shape)
        stored = reader.splits[split]
        size = stored.dtype.itemsize * int(np.prod(stored.shape))
        self._slots = min(len(rows), room // size)
        # the system allocates memory only when it is written
        self._kept = np.empty((self._slots, *stored.shape), stored.dtype)
        self._is_kept = np.zeros(len(rows), dtype=bool)

    @property
    def bytes_kept(self) -> int:
        """Bytes of the kept images when all slots are filled."""
        return self._kept.nbytes

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, part: slice) -> Tensor:
        """A few images at once. Raises UserError for unreadable ones."""
        return self._normalised(self._stored.read(self._rows[part]))

    def batches(self, parts: Sequence[NDArray[np.int64]]) -> Iterator[Tensor]:
        """The images of each part in turn; while one part is used, the next are read. parts: numbers from 0 to N-1.
        Raises OSError for files that can no longer be read."""
        lacking = [np.flatnonzero(~self._is_kept[part]) for part in parts]
        pieces = [
            part[places[start : start + PIECE]]
            for part, places in zip(parts, lacking, strict=True)
            for start in range(0, len(places), PIECE)
        ]
        arriving = _of_disk(self._reader.read(self._split, [self._rows[piece] for piece in pieces]))
        for part, places in zip(parts, lacking, strict=True):
            images = np.empty((len(part), *self._stored.shape), self._stored.dtype)
            had = np.ones(len(part), dtype=bool)
            had[places] = False
            images[had] = self._kept[self._slot(part[had])]
            for start in range(0, len(places), PIECE):
                images[places[start : start + PIECE]] = next(arriving)
            self._keep(part[places], images[places])
            yield self._normalised(images)

    def part(self, numbers: slice) -> "PartOfStreamed":
        """A slice of consecutive images."""
        return PartOfStreamed(self, numbers)

    @property
    def _stored(self) -> Stored:
        return self._reader.splits[self._split]

    def _slot(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        return numbers * self._slots // len(self)

    def _keep(self, numbers: NDArray[np.int64], images: NDArray[Any]) -> None:
        has_slot = self._slot(numbers + 1) > self._slot(numbers)
        self._kept[self._slot(numbers[has_slot])] = images[has_slot]
        self._is_kept[numbers[has_slot]] = True

    def _normalised(self, images: NDArray[Any]) -> Tensor:
        return normalise(images, self._facts, self.shape[1:], self.device, self._dtype)


class PartOfStreamed:
    """A slice of streamed images, which is streamed, too."""

    def __init__(self, whole: StreamedImages, numbers: slice) -> None:
        self._whole, self._start = whole, numbers.start
        self.device, self.shape = whole.device, (numbers.stop - numbers.start, *whole.shape[1:])

    def __len__(self) -> int:
        return int(self.shape[0])

    def batches(self, parts: Sequence[NDArray[np.int64]]) -> Iterator[Tensor]:
        """See StreamedImages."""
        return self._whole.batches([part + self._start for part in parts])


def _of_disk(arriving: Iterable[NDArray[Any]]) -> Iterator[NDArray[Any]]:
    """All samples were read before the training began, so an unreadable one is now an error of the disk."""
    try:
        yield from arriving
    except UserError as error:
        raise OSError(errno.EIO, str(error)) from error


@dataclass(frozen=True)
class StreamedData:
    """As `ncrun.data.tensors.RunData`, always with a test split. reader: to be closed at the end. room: bytes for
    features."""

    train_images: StreamedImages
    train_labels: Tensor
    test_images: StreamedImages
    test_labels: Tensor
    index_hash: str
    reader: Reader
    room: int

    def batches(self, order: Tensor | None, parts: Sequence[slice]) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and labels of consecutive parts of an order of the training samples."""
        assert order is not None
        numbers, labels = order.numpy(), self.train_labels[order.to(self.train_labels.device)]
        images = self.train_images.batches([numbers[part] for part in parts])
        yield from zip(images, (labels[part] for part in parts), strict=True)


def _give_large_blocks_back() -> None:
    """Returns large blocks to the system as soon as they are free. glibc puts blocks of up to 32 MB on its heap after
    some of that size were freed; batches of images then leave gaps of hundreds of MB."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # another C library
            ctypes.CDLL(None).mallopt(MMAP_THRESHOLD, LARGE_BLOCK)


def load(request: DataRequest, device: torch.device, dtype: torch.dtype, streaming: Streaming) -> StreamedData:
    """Chooses samples, and reads all of them once unless that was done before. Raises UserError as
    `ncrun.data.tensors.load` does."""
    _give_large_blocks_back()
    train, test = _stored(request)
    taken = chosen(request, train.labels, test.labels)
    facts, splits = request.source.facts, (train, test)
    if facts.mean is None:
        facts = facts.normalised(moments_of(request.source, splits, streaming.workers))
    reader = Reader(splits, streaming.workers)
    shape = request.image_shape
    images = StreamedImages(reader, 0, taken.train_rows, facts, shape, device, dtype, streaming.cache)
    room = streaming.cache - images.bytes_kept
    test_images = StreamedImages(reader, 1, taken.test_rows, facts, shape, device, dtype, room)
    labels, test_labels = (torch.from_numpy(each).to(device) for each in (taken.train_labels, taken.test_labels))
    return StreamedData(images, labels, test_images, test_labels, taken.index_hash, reader, streaming.features)


def check(request: DataRequest, streaming: Streaming) -> None:
    """Raises the errors of `load`."""
    splits = _stored(request)
    refuse_too_few(request, *(sizes(split.labels) for split in splits))
    moments_of(request.source, splits, streaming.workers)


def _stored(request: DataRequest) -> tuple[Stored, Stored]:
    splits = request.source.stored(request.folder)
    assert splits is not None
    return splits
