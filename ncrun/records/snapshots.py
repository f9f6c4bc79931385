"""snapshots.npz: a few samples at some epochs of training, in the directions of the class means.

At each epoch the class means span at most as many directions as there are classes, and a picture of the classes needs
no others. So only these coordinates of a sample are stored, as deviations from the class mean in units of the epoch's
largest one, in float16: the resolution is the same before and after the collapse.
"""

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ncrun.records.files import DamagedFile

NAME = "snapshots.npz"
# Dimension and kind of each array.
KINDS = {
    "epochs": (1, "<i8"),
    "classes": (1, "<i8"),
    "train_labels": (1, "<i8"),
    "test_labels": (1, "<i8"),
    "means": (3, "<f8"),
    "rows": (3, "<f8"),
    "units": (1, "<f8"),
    "train": (3, "<f2"),
    "test": (3, "<f2"),
}
BY_MOMENT = ("epochs", "means", "rows", "units", "train", "test")
LARGEST = 64 << 20  # in bytes; no run writes more
LARGEST_ENTRY = 1e100  # squares of such numbers can be added

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Snapshots:
    """S snapshots of n training and m test samples of C classes, in r = min(C, d) orthonormal directions that span each
    snapshot's class means.

    epochs: (S,). classes: (C,), numbers of the run's classes. train_labels: (n,), test_labels: (m,), places in
    `classes`. means: (S, C, r), the training set's class means, minus the mean of all samples if the prediction's are
    (see Problem.centres_means). rows: (S, C, r), the classifier's rows, projected. train: (S, n, r) and test: (S, m,
    r), the samples' deviations from the training set's mean of their class, in `units`, (S,).
    """

    epochs: NDArray[np.int64]
    classes: NDArray[np.int64]
    train_labels: NDArray[np.int64]
    test_labels: NDArray[np.int64]
    means: Array
    rows: Array
    units: Array
    train: NDArray[np.float16]
    test: NDArray[np.float16]

    def points(self, split: str, index: int) -> Array:
        """(n, r) or (m, r): the samples of "train" or "test" in a snapshot."""
        labels, deviations = (self.train_labels, self.train) if split == "train" else (self.test_labels, self.test)
        return np.asarray(self.means[index][labels] + self.units[index] * deviations[index].astype(float))

    def of(self, chosen: "NDArray[np.bool_] | Sequence[int]") -> "Snapshots":
        """Some of the snapshots."""
        kept = {name: getattr(self, name)[chosen] for name in BY_MOMENT}
        return replace(self, **kept)

    def with_more(self, more: "Snapshots") -> "Snapshots":
        """These snapshots, followed by others of the same samples."""
        both = {name: np.concatenate([getattr(self, name), getattr(more, name)]) for name in BY_MOMENT}
        return replace(self, **both)

    def __len__(self) -> int:
        return len(self.epochs)

    def as_bytes(self) -> bytes:
        """The file's bytes, which depend only on the arrays."""
        buffer = io.BytesIO()
        np.savez(buffer, **{name: getattr(self, name).astype(kind) for name, (_, kind) in KINDS.items()})
        return buffer.getvalue()


def parsed(content: bytes) -> Snapshots:
    """The inverse of `as_bytes`. Raises DamagedFile for anything else, and never allocates more than the file's
    size."""
    if len(content) > LARGEST:
        raise DamagedFile(f"has {len(content) >> 20} MB")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            # Uncompressed members are no larger than the file, and so are arrays.
            if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
                raise DamagedFile("it is compressed")
            arrays = {name: _array(archive, name) for name in KINDS}
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
        raise DamagedFile(str(error)) from error
    found = Snapshots(**arrays)
    _check(found)
    return found


def _array(archive: zipfile.ZipFile, name: str) -> Any:
    member = archive.read(f"{name}.npy")
    buffer = io.BytesIO(member)
    if np.lib.format.read_magic(buffer) != (1, 0):
        raise DamagedFile(f"{name} is of another version")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(buffer)
    dimension, kind = KINDS[name]
    rest = member[buffer.tell() :]
    if len(shape) != dimension or dtype != np.dtype(kind) or fortran or min(shape, default=0) < 0:
        raise DamagedFile(f"{name} is of another kind")
    if len(rest) != int(np.prod([dtype.itemsize, *map(int, shape)], dtype=object)):
        raise DamagedFile(f"{name} has a wrong size")
    return np.frombuffer(rest, dtype).reshape(shape)


def _check(found: Snapshots) -> None:
    """Checks that the arrays fit each other, and that every number can be drawn."""
    S, C, r = found.means.shape
    shapes = {
        "epochs": (S,),
        "classes": (C,),
        "rows": (S, C, r),
        "units": (S,),
        "train": (S, len(found.train_labels), r),
        "test": (S, len(found.test_labels), r),
    }
    for name, shape in shapes.items():
        if getattr(found, name).shape != shape:
            raise DamagedFile(f"{name} does not fit the class means")
    for labels in (found.train_labels, found.test_labels):
        if len(labels) and not (labels.min() >= 0 and labels.max() < C):
            raise DamagedFile("it has samples of no class")
    if not (S and C and r and (np.diff(found.epochs) > 0).all() and found.epochs[0] >= 0):
        raise DamagedFile("its epochs do not ascend")
    if len(np.unique(found.classes)) < C or found.classes.min() < 0:
        raise DamagedFile("it names a class twice")
    for field in fields(found):
        largest = np.abs(getattr(found, field.name)).max(initial=0)
        if not float(largest) < LARGEST_ENTRY:
            raise DamagedFile(f"{field.name} is not finite")
