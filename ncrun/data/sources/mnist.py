"""MNIST and FashionMNIST: 28 x 28 grey images in idx files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ncrun.data.source import DataSetFacts
from ncrun.data.sources.downloaded import Downloaded

# The code of Dang et al. 2024 has the same constants for both.
MEAN, STD = (0.1307,), (0.3081,)


@dataclass(frozen=True)
class Idx(Downloaded):
    """size: images become size x size, 32 as in the authors' code; null: 28, unchanged.
    channels: how often each grey image is repeated, 3 as in the authors' code; null: 1, unchanged.

    idx_md5: torchvision checks downloaded archives, but not unpacked files.
    """

    size: int | None = 32
    channels: int | None = 3

    idx_md5: ClassVar[dict[str, str]]

    def base(self, folder: Path) -> Path:
        return folder / self.of_torchvision / "raw"

    def sums(self, theirs: Any) -> dict[str, str]:
        return self.idx_md5


@dataclass(frozen=True)
class MNIST(Idx):
    """Handwritten digits, grey."""

    name: str = "mnist"
    words: ClassVar[str] = "MNIST"
    of_torchvision: ClassVar[str] = "MNIST"
    layout: ClassVar[str] = "MNIST/raw/*-ubyte"
    idx_md5: ClassVar[dict[str, str]] = {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    }

    @property
    def facts(self) -> DataSetFacts:
        sizes = (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)
        return DataSetFacts(sizes, (1, 28, 28), MEAN, STD)


@dataclass(frozen=True)
class FashionMNIST(Idx):
    """Pieces of clothing, grey."""

    name: str = "fashion_mnist"
    words: ClassVar[str] = "FashionMNIST"
    of_torchvision: ClassVar[str] = "FashionMNIST"
    layout: ClassVar[str] = "FashionMNIST/raw/*-ubyte"
    idx_md5: ClassVar[dict[str, str]] = {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    }

    @property
    def facts(self) -> DataSetFacts:
        return DataSetFacts((6000,) * 10, (1, 28, 28), MEAN, STD)
