"""CIFAR-10 and CIFAR-100: 32 x 32 coloured images in pickled batches."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ncrun.data.source import DataSetFacts
from ncrun.data.sources.downloaded import Downloaded


@dataclass(frozen=True)
class CIFAR(Downloaded):
    """batches: the folder of its files."""

    batches: ClassVar[str]

    def base(self, folder: Path) -> Path:
        return folder / self.batches

    def sums(self, theirs: Any) -> dict[str, str]:
        return dict((*theirs.train_list, *theirs.test_list, (theirs.meta["filename"], theirs.meta["md5"])))


@dataclass(frozen=True)
class CIFAR10(CIFAR):
    """Ten classes of coloured photographs of 32 x 32."""

    name: str = "cifar10"
    words: ClassVar[str] = "CIFAR-10"
    of_torchvision: ClassVar[str] = "CIFAR10"
    layout: ClassVar[str] = "cifar-10-batches-py/data_batch_1 ..."
    batches: ClassVar[str] = "cifar-10-batches-py"

    @property
    def facts(self) -> DataSetFacts:
        """mean, std: of Dang et al. 2023."""
        return DataSetFacts((5000,) * 10, (3, 32, 32), (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))


@dataclass(frozen=True)
class CIFAR100(CIFAR):
    """A hundred classes of coloured photographs of 32 x 32."""

    name: str = "cifar100"
    words: ClassVar[str] = "CIFAR-100"
    of_torchvision: ClassVar[str] = "CIFAR100"
    layout: ClassVar[str] = "cifar-100-python/train ..."
    batches: ClassVar[str] = "cifar-100-python"

    @property
    def facts(self) -> DataSetFacts:
        """mean, std: the code of Dang et al. 2024 only scales to [0, 1]."""
        return DataSetFacts((500,) * 100, (3, 32, 32), (0.0,) * 3, (1.0,) * 3)
