"""SVHN, street view house numbers: 32 x 32 coloured images in MATLAB files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ncrun.data.source import DataSetFacts
from ncrun.data.sources.downloaded import Downloaded


@dataclass(frozen=True)
class SVHN(Downloaded):
    """Digits on house numbers, coloured, of 32 x 32. Its `extra` images are not used."""

    name: str = "svhn"
    words: ClassVar[str] = "SVHN"
    of_torchvision: ClassVar[str] = "SVHN"
    layout: ClassVar[str] = "train_32x32.mat and test_32x32.mat"

    @property
    def facts(self) -> DataSetFacts:
        """mean, std: the code of Dang et al. 2024 only scales to [0, 1]."""
        sizes = (4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659)
        return DataSetFacts(sizes, (3, 32, 32), (0.0,) * 3, (1.0,) * 3)

    def base(self, folder: Path) -> Path:
        return folder

    def which(self, is_train: bool) -> dict[str, Any]:
        return {"split": "train" if is_train else "test"}

    def labels(self, split: Any) -> NDArray[np.int64]:
        return np.asarray(split.labels, dtype=np.int64)

    def sums(self, theirs: Any) -> dict[str, str]:
        return {name: md5 for which, (_, name, md5) in theirs.split_list.items() if which != "extra"}
