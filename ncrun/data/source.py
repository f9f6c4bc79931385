"""What ncrun must know of a data set without reading it. Torch-free: theory needs the class sizes at once.

A data set is one file: a frozen dataclass made from `Source`, whose fields are the keys dataset.* with their defaults
and whose docstring is their help. An instance with the defaults is its entry in `ncrun.data.SOURCES`; the instance with
a run's values says everything of that run's data.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from ncrun.data.moments import Moments
from ncrun.data.splits import LabelledImages
from ncrun.data.stored import Stored
from ncrun.errors import UserError
from ncrun.targets import Targets


@dataclass(frozen=True)
class DataSetFacts:
    """class_sizes: training samples per class, in label order; () where there are targets in place of classes.
    image_shape: (channels, height, width).

    mean, std: per channel, on pixels divided by `largest`; None: those of the training split, as it is read.
    class_names: in label order; None where nobody has named the classes.
    targets: the moments of the training split's targets, where these are numbers in place of classes.
    """

    class_sizes: tuple[int, ...]
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    largest: float = 255.0
    class_names: tuple[str, ...] | None = None
    targets: Targets | None = None

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.class_sizes)

    def normalised(self, by: Moments) -> "DataSetFacts":
        """The same, with the mean and the deviation of the training split as it was read."""
        return replace(self, mean=by.mean, std=by.std)

    @property
    def holds_vectors(self) -> bool:
        """Whether a sample is a vector of numbers, one in each channel, rather than an image."""
        return self.image_shape[1:] == (1, 1)


@dataclass(frozen=True)
class Source(ABC):
    """name: what users type as dataset=.
    size: height and width that images are made into; null: as the data set has them.
    channels: 1, grey, or 3, coloured; null: as the data set has them.

    words: what captions call it. has_test_split: whether there is always one; else every fifth sample of each
    class may be kept for testing. may_hold_targets: whether its facts may be of targets in place of classes.
    """

    name: str
    size: int | None = None
    channels: int | None = None

    words: ClassVar[str]
    has_test_split: ClassVar[bool] = True
    may_hold_targets: ClassVar[bool] = False

    @property
    def key(self) -> str:
        """Its name in the registry."""
        return self.name

    @property
    @abstractmethod
    def facts(self) -> DataSetFacts:
        """Raises UserError if a user's own data are not as they must be."""

    @abstractmethod
    def read(self, folder: Path) -> tuple[LabelledImages, LabelledImages]:
        """The training and the test split. `folder` holds data sets; what is not there may be downloaded to it.

        Raises UserError if the files are missing or damaged.
        """

    def stored(self, folder: Path) -> tuple[Stored, Stored] | None:
        """The same two splits, of which samples can be read by themselves; None where they can only be read whole.
        Raises UserError as `read` does, but for what is seen of a sample only when it is read."""
        return None

    @property
    def title(self) -> str:
        """What a run's manifest calls its data."""
        return self.name

    @property
    def digest(self) -> str | None:
        """SHA-256 of data that may change under their name: runs on changed data are other runs. None: they do not."""
        return None

    def digest_of_bytes(self) -> str | None:
        """The same from all of the data's bytes, where `digest` may be one that is remembered. Raises UserError."""
        return self.digest

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the images as the network sees them."""
        channels, height, width = self.facts.image_shape
        return self.channels or channels, self.size or height, self.size or width

    def check_keys(self) -> None:  # noqa: B027 -- most have none
        """Raises UserError, naming dataset.<key>, for what can be told before the data are looked at."""

    def check(self) -> None:
        """Raises UserError, naming dataset.<key>, for images that cannot be made."""
        self.check_keys()
        facts = self.facts
        own = facts.image_shape[0]
        if facts.holds_vectors:
            for key, value in (("size", self.size), ("channels", self.channels)):
                if value is not None:
                    raise UserError(f"dataset.{key}={value}: has no effect: {self.name} holds vectors of {own} numbers")
        elif self.channels not in (None, own, 3):
            kind, choices = ("grey", "1 or 3") if own == 1 else ("coloured", "3")
            raise UserError(
                f"dataset.channels={self.channels}: the images of {self.name} are {kind}; it can be {choices}, or null"
            )
