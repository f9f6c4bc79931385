"""The facts about a data set that need no reading. Torch-free: theory needs the class counts.

A data set is one file: a frozen dataclass made from `Source`, whose fields are the keys dataset.* with their defaults
and whose docstring is their help. An instance with the defaults is its entry in `ncrun.data.SOURCES`; an instance with
a run's values describes that run's data.
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
    """class_sizes: training samples per class, in label order; () with targets.
    image_shape: (channels, height, width).

    mean, std: per channel, on pixels divided by `largest`; None: those of the training split, found when it is read.
    class_names: in label order; None if the classes have no names.
    targets: the moments of the training split's targets, if there are targets instead of classes.
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
        """The same, with the mean and the deviation of the training split."""
        return replace(self, mean=by.mean, std=by.std)

    @property
    def holds_vectors(self) -> bool:
        """Whether a sample is a vector, one number in each channel, and not an image."""
        return self.image_shape[1:] == (1, 1)


@dataclass(frozen=True)
class Source(ABC):
    """name: the value of dataset=.
    size: height and width of images after resizing; null: those of the data set.
    channels: 1 (grey) or 3 (RGB); null: those of the data set.

    words: its name in captions. has_test_split: whether there is always one; else every fifth sample of each class may
    become a test sample. may_hold_targets: whether it may hold targets instead of classes.
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
        """Raises UserError for invalid data of a user's own."""

    @abstractmethod
    def read(self, folder: Path) -> tuple[LabelledImages, LabelledImages]:
        """The training and the test split. `folder` holds data sets; missing files may be downloaded to it.

        Raises UserError if the files are missing or damaged.
        """

    def stored(self, folder: Path) -> tuple[Stored, Stored] | None:
        """The same two splits, with samples that can be read one by one; None if they can only be read whole. Raises
        UserError as `read` does, except for errors in samples that are not read yet."""
        return None

    @property
    def title(self) -> str:
        """Its name in a run's manifest."""
        return self.name

    @property
    def digest(self) -> str | None:
        """SHA-256 of data that may change under their name, because changed data make another run. None: they do not
        change."""
        return None

    def digest_of_bytes(self) -> str | None:
        """The same from all of the data's bytes, where `digest` may be one that is remembered. Raises UserError."""
        return self.digest

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the network's input images."""
        channels, height, width = self.facts.image_shape
        return self.channels or channels, self.size or height, self.size or width

    def check_keys(self) -> None:  # noqa: B027 -- most have none
        """Raises UserError, naming dataset.<key>, for invalid keys, before the data are read."""

    def check(self) -> None:
        """Raises UserError, naming dataset.<key>, for an impossible size or number of channels."""
        self.check_keys()
        facts = self.facts
        own = facts.image_shape[0]
        if facts.holds_vectors:
            for key, value in (("size", self.size), ("channels", self.channels)):
                if value is not None:
                    raise UserError(f"dataset.{key}={value}: has no effect: {self.name} has vectors of {own} numbers")
        elif self.channels not in (None, own, 3):
            kind, choices = ("grey", "1 or 3") if own == 1 else ("coloured", "3")
            raise UserError(
                f"dataset.channels={self.channels}: the images of {self.name} are {kind}; must be {choices}, or null"
            )
