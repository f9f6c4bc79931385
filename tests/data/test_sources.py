"""What is known of a data set without reading it, and data sets from a user's own file."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from ncrun.data import SOURCES, DataSetFacts, Source
from ncrun.data.request import DataRequest
from ncrun.data.sources.cifar import CIFAR10
from ncrun.data.sources.mnist import MNIST
from ncrun.data.splits import LabelledImages
from ncrun.data.tensors import check, labels_only, load
from ncrun.errors import UserError

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Blobs(Source):
    """Noise about each class' own grey level, made from a seed: a data set that a user's own file would add."""

    name: str = "blobs"
    made_from: int = 0

    words: ClassVar[str] = "blobs"

    @property
    def facts(self) -> DataSetFacts:
        return DataSetFacts((20, 20, 20), (1, 4, 4), largest=1.0)

    def read(self, folder: Path) -> tuple[LabelledImages, LabelledImages]:
        rng = np.random.default_rng(self.made_from)
        labels = np.repeat(np.arange(3), 20)
        splits = (labels[:, None, None, None] + rng.normal(0, 0.1, (60, 1, 4, 4)) for _ in range(2))
        train, test = (LabelledImages(images, labels) for images in splits)
        return train, test


@pytest.fixture
def _forgets() -> Iterator[None]:
    yield
    SOURCES.forget_added()


@pytest.mark.parametrize("source", list(SOURCES), ids=lambda source: source.key)
def test_every_data_set_says_what_its_keys_are(source: Source) -> None:
    assert [f.name for f in fields(source)][:3] == ["name", "size", "channels"]
    assert not (source.__doc__ or "").startswith(f"{type(source).__name__}(")


@pytest.mark.usefixtures("_forgets")
def test_a_data_set_of_ones_own() -> None:
    """Normalised by its own training split, in any size, and other numbers from another seed. 1e-12: float64."""
    SOURCES.add(Blobs())
    request = DataRequest(SOURCES["blobs"], Path("unused"), counts=(5, 4, 3), subset="seed")
    data = load(request, CPU, torch.float64)
    assert torch.bincount(data.train_labels).tolist() == [5, 4, 3]
    train, test = Blobs().read(Path())
    assert data.test_images is not None
    assert np.allclose(data.test_images, (test.images - train.images.mean()) / train.images.std(), rtol=0, atol=1e-12)
    bigger = DataRequest(Blobs(size=6, channels=3, made_from=1), Path(), counts=(5, 4, 3), classes=(2, 1, 0))
    other = load(bigger, CPU, torch.float64)
    assert other.train_images.shape == (12, 3, 6, 6) == (bigger.num_samples, *bigger.image_shape)
    means = [float(other.train_images[other.train_labels == k].mean()) for k in range(3)]
    assert means == sorted(means, reverse=True)  # the data set's class 2 is the run's class 0


def test_a_request_for_more_than_there_is() -> None:
    for refuses in (check, lambda request: load(request, CPU, torch.float32)):
        with pytest.raises(UserError) as told:
            refuses(DataRequest(Blobs(), Path(), counts=(20, 21, 20)))
        assert str(told.value) == "dataset=blobs: its files hold 20 training samples of class 1, not 21"


def test_labels_of_free_features() -> None:
    data = labels_only((2, 1, 3), CPU)
    assert data.train_labels.tolist() == [0, 0, 1, 2, 2, 2]
    assert data.train_images.tolist() == [0, 1, 2, 3, 4, 5]
    assert data.test_images is None


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (MNIST(channels=2), "dataset.channels=2: the images of mnist are grey; must be 1 or 3, or null"),
        (CIFAR10(channels=1), "dataset.channels=1: the images of cifar10 are coloured; must be 3, or null"),
    ],
)
def test_images_that_cannot_be_made(source: Source, line: str) -> None:
    with pytest.raises(UserError) as told:
        source.check()
    assert str(told.value) == line
