"""Two small data sets for regression, which are part of scikit-learn."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ncrun.data.source import DataSetFacts, Source
from ncrun.data.splits import LabelledImages, hold_out
from ncrun.targets import Targets


@dataclass(frozen=True)
class _Bundled(Source):
    """Inputs are vectors, standardised like the pixels of images. Targets are standardised by the mean and the standard
    deviation of each number over the training split. Every fifth sample, in the set's order, is a test sample.
    """

    has_test_split: ClassVar[bool] = False
    may_hold_targets: ClassVar[bool] = True

    @property
    def facts(self) -> DataSetFacts:
        train, _ = _splits(self.name)
        return DataSetFacts((), train.images.shape[1:], largest=1.0, targets=Targets.of(train.labels))

    def read(self, folder: Path) -> tuple[LabelledImages, LabelledImages]:
        return _splits(self.name)


@dataclass(frozen=True)
class Diabetes(_Bundled):
    """scikit-learn's diabetes, for regression: progress of the disease of 442 patients in a year, from 10 measurements
    of each. Inputs and target are standardised; every fifth patient is a test sample."""

    name: str = "diabetes"
    words: ClassVar[str] = "diabetes"


@dataclass(frozen=True)
class Linnerud(_Bundled):
    """scikit-learn's linnerud, for regression: weight, waist and pulse of 20 men, from 3 exercises. Inputs and targets
    are standardised; every fifth man is a test sample."""

    name: str = "linnerud"
    words: ClassVar[str] = "linnerud"


@cache
def _splits(name: str) -> tuple[LabelledImages, LabelledImages]:
    from sklearn import datasets

    load: Callable[[], Any] = getattr(datasets, f"load_{name}")
    bundle = load()
    inputs = np.asarray(bundle.data, dtype=np.float64)[:, :, None, None]
    targets = np.asarray(bundle.target, dtype=np.float64).reshape(len(inputs), -1)
    train, test = hold_out(LabelledImages(inputs, targets))
    mean, std = train.labels.mean(axis=0), train.labels.std(axis=0)

    def standardised(part: LabelledImages) -> LabelledImages:
        return LabelledImages(part.images, (part.labels - mean) / std)

    return standardised(train), standardised(test)
