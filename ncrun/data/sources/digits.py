"""scikit-learn's handwritten digits, which are part of its package."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from ncrun.data.source import DataSetFacts, Source
from ncrun.data.splits import LabelledImages, hold_out


@dataclass(frozen=True)
class Digits(Source):
    """scikit-learn's 1797 images of 8 x 8. Every fifth image of each class, in the set's order, is a test sample."""

    name: str = "digits"
    words: ClassVar[str] = "digits"
    has_test_split: ClassVar[bool] = False

    @property
    def facts(self) -> DataSetFacts:
        """mean, std: computed from the training split."""
        sizes = (143, 146, 142, 147, 145, 146, 145, 144, 140, 144)
        return DataSetFacts(sizes, (1, 8, 8), (0.3051,), (0.3762,), largest=16.0)

    def read(self, folder: Path) -> tuple[LabelledImages, LabelledImages]:
        from sklearn.datasets import load_digits

        bundle = load_digits()
        images = bundle.images.astype(np.uint8)[:, None]
        return hold_out(LabelledImages(images, bundle.target.astype(np.int64)))
