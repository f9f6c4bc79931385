"""Takes a run's snapshots (see records/snapshots.py) when it is measured, and writes them before its checkpoint."""

import sys
from collections.abc import Callable, Collection, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ncrun.data.streamed import StreamedData
from ncrun.data.tensors import RunData
from ncrun.metrics.relu_head import layer_inputs, top_layer
from ncrun.records import RunDirectory
from ncrun.records.files import DamagedFile
from ncrun.records.snapshots import NAME, Snapshots, parsed
from ncrun.training.checkpoint import Progress
from ncrun.training.evaluate import Moment

# With more classes this many are kept, evenly from the largest to the smallest: the file stays below a megabyte.
MOST_CLASSES = 16
SAMPLES = {"train": 1000, "test": 500}

Array = NDArray[np.float64]
Whole = NDArray[np.int64]


class Album:
    """A run's snapshots. epochs: after which one is taken; () for none."""

    def __init__(self, record: RunDirectory, data: RunData | StreamedData, epochs: Collection[int]) -> None:
        self._record, self._data, self._epochs = record, data, epochs
        self._taken: Snapshots | None = None
        self._is_written = True
        if epochs:
            K = int(data.train_labels.max()) + 1
            self._classes = kept_classes(torch.bincount(data.train_labels, minlength=K).tolist())
            self._train, self._train_labels = self._chosen(data.train_labels, SAMPLES["train"])
            self._test, self._test_labels = self._chosen(data.test_labels, SAMPLES["test"])

    def _chosen(self, labels: Tensor | None, most: int) -> tuple[Tensor, Whole]:
        """The chosen samples of a split, and each one's place among the kept classes."""
        if labels is None:
            return torch.zeros(0, dtype=torch.long), np.zeros(0, dtype=np.int64)
        found = chosen_samples(labels.cpu().numpy(), self._classes, most)
        return torch.from_numpy(np.concatenate(found)), np.repeat(np.arange(len(found)), [len(each) for each in found])

    def take_up(self, progress: Progress) -> None:
        """Continues with the file's snapshots up to the checkpoint; later ones are taken again."""
        file = self._record.path / NAME
        self._taken, self._is_written = None, True
        if not file.is_file():
            return
        if self._epochs and (progress.epoch or progress.offset):
            try:
                before = parsed(file.read_bytes())
            except DamagedFile as error:
                print(f"ncrun: {file}: is damaged ({error}); the snapshots so far are lost", file=sys.stderr)
            else:
                same = np.array_equal(before.classes, self._classes)
                same = same and np.array_equal(before.train_labels, self._train_labels)
                kept = before.epochs <= progress.epoch
                if same and kept.any():
                    self._taken, self._is_written = before.of(kept), bool(kept.all())
        if self._taken is None:
            self._record.remove(file)

    def is_due(self, epoch: int) -> bool:
        """Whether to take a snapshot of this epoch."""
        return epoch in self._epochs

    def has(self, epoch: int) -> bool:
        """Whether the last snapshot is of this epoch, or none are taken at all."""
        return not self._epochs or (self._taken is not None and int(self._taken.epochs[-1]) == epoch)

    def add(self, epoch: int, moment: Moment) -> None:
        """Takes a snapshot at the end of an epoch."""
        classes, head = torch.from_numpy(self._classes), moment.head
        middle = moment.means.overall if moment.centred else torch.zeros_like(moment.means.overall)
        means = (moment.means.means - middle).cpu()[classes]
        # The span of the class means; with fewer dimensions than classes, the whole feature space.
        _, _, axes = torch.linalg.svd(means, full_matrices=False)
        weight = (top_layer(head) if head.relu else head).suffixes()[0].cpu()[classes]

        def deviations(features: Callable[[Tensor], Tensor] | None, samples: Tensor, labels: Whole) -> Array:
            if features is None:
                return np.zeros((0, len(axes)))
            points = features(samples)
            points = layer_inputs(points, head)[0][-1] if head.relu else points.double()
            return np.asarray(((points - middle).cpu() - means[torch.from_numpy(labels)]) @ axes.T)

        train = deviations(moment.train, self._train, self._train_labels)
        test = deviations(moment.test, self._test, self._test_labels)
        unit = float(max(np.abs(part).max(initial=0.0) for part in (train, test)))
        new = Snapshots(
            epochs=np.array([epoch]),
            classes=self._classes,
            train_labels=self._train_labels,
            test_labels=self._test_labels,
            means=np.asarray(means @ axes.T)[None],
            rows=np.asarray(weight @ axes.T)[None],
            units=np.array([unit]),
            train=(train / (unit or 1.0)).astype(np.float16)[None],
            test=(test / (unit or 1.0)).astype(np.float16)[None],
        )
        self._taken = new if self._taken is None else self._taken.with_more(new)
        self._is_written = False

    def write(self) -> None:
        """Writes the file. Raises OSError, LockLost."""
        if self._taken is not None and not self._is_written:
            self._record.write(NAME, self._taken.as_bytes())
            self._is_written = True


def kept_classes(counts: Sequence[int]) -> Whole:
    """(C,): all classes, or MOST_CLASSES of them, evenly from the largest to the smallest, in ascending order."""
    K = len(counts)
    if K <= MOST_CLASSES:
        return np.arange(K)
    by_size = np.argsort(-np.asarray(counts), kind="stable")
    return np.sort(by_size[np.linspace(0, K - 1, MOST_CLASSES).round().astype(int)])


def chosen_samples(labels: Whole, classes: Whole, most: int) -> list[Whole]:
    """The places of the first samples of each of these classes: the same number of each, all of a small class, at most
    `most` in total."""
    places = [np.flatnonzero(labels == k) for k in classes]
    shares = np.arange(most + 1)
    totals = np.minimum.outer(shares, [len(each) for each in places]).sum(axis=1)
    share = shares[totals <= most][-1]
    return [each[:share] for each in places]
