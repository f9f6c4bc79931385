"""The data set and the samples of a run, in numbers. Torch-free."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ncrun.data.source import Source

# Augmentations: moved by up to an eighth of the size, mirrored. See ncrun.data.augment.
AUGMENTATIONS = ("crop", "flip")


@dataclass(frozen=True)
class FreeSamples:
    """For free features, which have no data: only labels, counts[k] of each class k."""

    counts: tuple[int, ...]

    @property
    def augment(self) -> tuple[str, ...]:
        """Empty, because there are no images."""
        return ()

    @property
    def num_samples(self) -> int:
        return sum(self.counts)


@dataclass(frozen=True)
class FreeTargets:
    """For free features on the targets of a data set without its inputs: one for each training sample."""

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
    """counts: training samples of each class, (K,); () for a data set with targets, whose samples are all used.
    classes: the data set's classes in use, in order; None: all of them. folder: of the data sets.

    subset: "first", the first samples in the data set's order, or "seed", drawn from the seed. random_labels: the share
    of training samples whose labels are permuted. augment: the random changes to a training batch.
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
        """Channels, height and width of the network's input images."""
        return self.source.image_shape

    @property
    def num_samples(self) -> int:
        targets = self.source.facts.targets
        return sum(self.counts) if targets is None else targets.num_samples

    @property
    def chosen(self) -> tuple[int, ...]:
        """For each of the K classes, its number in the data set."""
        return tuple(range(len(self.counts))) if self.classes is None else self.classes
