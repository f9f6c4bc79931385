"""What looking at every sample of a user's own data has found, kept by their content: it may take hours."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from ncrun.data.moments import Moments, channel_moments
from ncrun.data.reader import Reader
from ncrun.data.source import Source
from ncrun.data.stored import Stored, blocks_of


def moments_of(source: Source, splits: Sequence[Stored], workers: int) -> Moments:
    """Of the training split, the first; all samples of all splits are read once, for those that cannot be. Raises
    UserError for these."""
    channels, height, width = splits[0].shape
    file = user_cache_path("ncrun") / "moments" / f"{source.digest}-{channels}-{height}-{width}.json"
    known = _read(file, channels) if source.digest is not None else None
    if known is not None:
        return known
    with Reader(splits, workers) as reader:
        found = channel_moments(lambda: _blocks(reader, 0), splits[0].dtype, source.facts.largest)
        for split in range(1, len(splits)):
            for _ in _blocks(reader, split):
                pass
    if source.digest is not None:
        with contextlib.suppress(OSError):  # then it is looked at again the next time
            _write(file, found)
    return found


def _blocks(reader: Reader, split: int) -> Iterator[NDArray[Any]]:
    stored = reader.splits[split]
    parts = blocks_of(len(stored.labels), stored.shape)
    return reader.read(split, [np.arange(part.start, part.stop) for part in parts])


def _read(file: Path, channels: int) -> Moments | None:
    """None where there is no such file, or it is not what was written."""
    try:
        content = json.loads(file.read_text())
        mean, std = (tuple(map(float, content[key])) for key in ("mean", "std"))
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return Moments(mean, std) if _sound(mean, std, channels) else None


def _sound(mean: Sequence[float], std: Sequence[float], channels: int) -> bool:
    finite = bool(np.isfinite([*mean, *std]).all())
    return len(mean) == len(std) == channels and finite and min(std) > 0


def _write(file: Path, found: Moments) -> None:
    """Aside and renamed: others may read it at this moment. JSON has all digits of a float."""
    file.parent.mkdir(parents=True, exist_ok=True)
    number, aside = tempfile.mkstemp(dir=file.parent)
    with os.fdopen(number, "w") as opened:
        json.dump({"mean": found.mean, "std": found.std}, opened)
    os.replace(aside, file)
