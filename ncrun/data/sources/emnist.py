"""EMNIST Letters: 28 x 28 grey images in idx files."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ncrun.data.source import DataSetFacts
from ncrun.data.sources.downloaded import Downloaded
from ncrun.errors import UserError


@dataclass(frozen=True)
class EMNISTLetters(Downloaded):
    """26 handwritten letters, grey.

    size: images become size x size, 32 as in the authors' code; null: 28, unchanged.
    channels: how often each grey image is repeated, 3 as in the authors' code; null: 1, unchanged.
    """

    name: str = "emnist_letters"
    size: int | None = 32
    channels: int | None = 3

    words: ClassVar[str] = "EMNIST Letters"
    of_torchvision: ClassVar[str] = "EMNIST"
    layout: ClassVar[str] = "EMNIST/raw/emnist-letters-*-ubyte"

    @property
    def facts(self) -> DataSetFacts:
        """mean, std: of Dang et al. 2023."""
        return DataSetFacts((4800,) * 26, (1, 28, 28), (0.1722,), (0.3309,))

    def base(self, folder: Path) -> Path:
        return folder / "EMNIST" / "raw"

    def which(self, is_train: bool) -> dict[str, Any]:
        return {"train": is_train, "split": "letters"}

    def labels(self, split: Any) -> NDArray[np.int64]:
        labels = super().labels(split)
        if labels.min() < 1 or labels.max() > 26:
            raise UserError(
                f"dataset={self.name}: {split.labels_file} is damaged (its labels are {labels.min()} to {labels.max()},"
                " not 1 to 26)"
            )
        return labels - 1  # the letters are numbered from 1

    def sums(self, theirs: Any) -> dict[str, str]:
        """There are no published sums for the unpacked files."""
        return {}

    def refuse_damaged(self, theirs: Any, base: Path) -> None:
        for split in ("train", "test"):
            self._refuse_broken_idx(base, f"emnist-letters-{split}")

    def _refuse_broken_idx(self, base: Path, prefix: str) -> None:
        """Checks that each idx file has the length in its header, and that there are as many labels as images."""
        lengths = {}
        for kind, image_shape in (("images-idx3", self.facts.image_shape[1:]), ("labels-idx1", ())):
            path = base / f"{prefix}-{kind}-ubyte"
            if not path.is_file():
                continue
            with self.opened(path) as file:
                # Two zero bytes, 8 for unsigned bytes, the number of axes, and each axis' length in four bytes.
                header = np.frombuffer(file.read(4 * (2 + len(image_shape))), dtype=np.uint8)
            words = header[: len(header) // 4 * 4].view(">u4").tolist()
            whole = len(words) == 2 + len(image_shape) and words[0] == 0x801 + len(image_shape)
            if (
                not whole
                or tuple(words[2:]) != image_shape
                or path.stat().st_size != len(header) + math.prod(words[1:])
            ):
                self.refuse_file(path, "its length does not fit its header")
            lengths[path] = words[1]
        if len(set(lengths.values())) > 1:
            images, labels = lengths
            raise UserError(
                f"dataset={self.name}: {images} is damaged, or {labels.name} (they hold {lengths[images]} images and"
                f" {lengths[labels]} labels)"
            )
