"""Which samples of which data set a run is on, in numbers. Torch-free."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ncrun.data.source import Source

# Random changes to training images: moved by up to an eighth of their size, mirrored. See ncrun.data.augment.
AUGMENTATIONS = ("crop", "flip")


@dataclass(frozen=True)
class FreeSamples:
    """Of free features, which are on no data: labels alone, counts[k] of each class k."""

    counts: tuple[int, ...]

    @property
    def augment(self) -> tuple[str, ...]:
        """Nothing is changed where there are no images."""
        return ()

    @property
    def num_samples(self) -> int:
        return sum(self.counts)


@dataclass(frozen=True)
class FreeTargets:
    """Of free features on the targets of a data set, whose inputs they do not look at: one for each training sample."""

    source: Source
    folder: Path

    counts: ClassVar[tuple[int, ...]] = ()
    augment: ClassVar[tuple[str, ...]] = ()

    @property
    def num_samples(self) -> int:
        targets = self.source.facts.targets
        assert targets is not None
        return targets.num_samples


@dataclass(frozen=True)
class DataRequest:
    """counts: training samples of each class, (K,); () of a data set with targets in place of classes, of which all
    samples are taken. classes: the data set's classes that these are, in that order;
    None: all of them. folder: where the data sets lie.

    subset: "first", the first samples in the data set's order, or "seed", drawn from the seed. random_labels: the share
    of training samples whose labels are dealt out anew. augment: the kinds of random change made to a training batch.
    """

    source: Source
    folder: Path
    counts: tuple[int, ...]
    classes: tuple[int, ...] | None = None
    subset: str = "first"
    seed: int = 0
    random_labels: float = 0.0
    augment: tuple[str, ...] = ()

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the images as the network sees them."""
        return self.source.image_shape

    @property
    def num_samples(self) -> int:
        targets = self.source.facts.targets
        return sum(self.counts) if targets is None else targets.num_samples

    @property
    def chosen(self) -> tuple[int, ...]:
        """The data set's number of each of the K classes."""
        return tuple(range(len(self.counts))) if self.classes is None else self.classes
