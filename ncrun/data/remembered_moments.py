"""Caches, by content, the results of reading every sample of a user's own data, which may take hours."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ncrun import json_object
from ncrun.data import cache
from ncrun.data.moments import Moments, channel_moments
from ncrun.data.reader import Reader
from ncrun.data.source import Source
from ncrun.data.stored import Stored, blocks_of


def moments_of(source: Source, splits: Sequence[Stored], workers: int) -> Moments:
    """Moments of the training split, which is the first. All samples of all splits are read once, and UserError is
    raised for unreadable ones."""
    channels, height, width = splits[0].shape
    file = cache.cache_file("moments", f"{source.digest}-{channels}-{height}-{width}")
    known = _read(file, channels) if source.digest is not None else None
    if known is not None:
        return known
    with Reader(splits, workers) as reader:
        found = channel_moments(lambda: _blocks(reader, 0), splits[0].dtype, source.facts.largest)
        for split in range(1, len(splits)):
            for _ in _blocks(reader, split):
                pass
    if source.digest is not None:
        cache.write(file, {"mean": found.mean, "std": found.std})
    return found


def _blocks(reader: Reader, split: int) -> Iterator[NDArray[Any]]:
    stored = reader.splits[split]
    parts = blocks_of(len(stored.labels), stored.shape)
    return reader.read(split, [np.arange(part.start, part.stop) for part in parts])


def _read(file: Path, channels: int) -> Moments | None:
    """None if there is no such file, or it was changed."""
    content = json_object.read(file)
    try:
        mean, std = (tuple(map(float, content[key])) for key in ("mean", "std"))
    except (ValueError, LookupError, TypeError):
        return None
    return Moments(mean, std) if _sound(mean, std, channels) else None


def _sound(mean: Sequence[float], std: Sequence[float], channels: int) -> bool:
    finite = bool(np.isfinite([*mean, *std]).all())
    return len(mean) == len(std) == channels and finite and min(std) > 0
