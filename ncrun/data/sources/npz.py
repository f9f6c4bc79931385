"""An .npz file of numpy arrays: train_images and train_labels, optionally test_images and test_labels; or targets
instead of labels. Torch-free."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import numpy as np
from numpy.typing import NDArray

from ncrun.data.array_file import ArrayFile, NoArrays
from ncrun.data.remembered_digest import digest_of
from ncrun.data.source import DataSetFacts
from ncrun.data.sources.own import OwnData, refuse
from ncrun.data.splits import HELD_OUT, LabelledImages, held_out, hold_out
from ncrun.data.stored import Stored
from ncrun.targets import LARGEST_TARGET, MOST_OUTPUTS, Targets

IMAGE_SHAPES = "(N, H, W), (N, H, W, C) with C = 1 or 3, or (N, d) for vectors"


@dataclass(frozen=True)
class Npz(OwnData):
    """Your own arrays train_images and train_labels, optionally test_images and test_labels; or train_targets and
    test_targets, for regression."""

    name: str = "npz"
    words: ClassVar[str] = "npz"
    what: ClassVar[str] = "FILE.npz, an .npz file"
    may_hold_targets: ClassVar[bool] = True

    def open(self, path: Path) -> "NpzFile":
        return NpzFile(path)


class NpzFile:
    """Images (N, H, W), (N, H, W, C) or vectors (N, d), uint8 or floats (used unchanged); labels (N,), 0 to K-1; or
    instead targets (N,) or (N, q), used unchanged.

    Without test arrays every fifth sample of each class is a test sample. Other arrays are ignored.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = ArrayFile(path)

    @cached_property
    def facts(self) -> DataSetFacts:
        shape, dtype = self._image_header("train")
        largest = 255.0 if dtype == np.uint8 else 1.0
        if self._has_targets:
            return DataSetFacts((), _planes(shape), largest=largest, targets=self._moments(shape, dtype))
        labels = self._labels("train")
        found, sizes = np.unique(labels, return_counts=True)
        if len(found) < 2:
            self._refuse("train_labels: needs at least two classes")
        if found[0] < 0:
            self._refuse(f"train_labels: must be 0 to K-1, found {found[0]}")
        missing = np.flatnonzero(found != np.arange(len(found)))
        if len(missing):
            self._refuse(
                f"train_labels: must be 0 to K-1 without gaps; found labels up to {found[-1]}, but no {missing[0]}"
            )
        if self._has_test:
            self._check_test(shape, dtype, num_classes=len(found))
        else:
            sizes = sizes - sizes // HELD_OUT
        return DataSetFacts(tuple(sizes.tolist()), _planes(shape), largest=largest)

    def _moments(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Targets:
        """Moments of the training split's targets; the targets of both splits are checked."""
        targets = self._targets("train")
        if self._has_test:
            self._check_test_images(shape, dtype)
            found, expected = self._targets("test").shape[1], targets.shape[1]
            if found != expected:
                self._refuse(f"test_targets: have {found} numbers for each image, but train_targets {expected}")
            return Targets.of(targets)
        if len(targets) < HELD_OUT:
            self._refuse(
                f"train_targets: {len(targets)} samples are too few to keep some for testing; add test_images and"
                " test_targets"
            )
        return Targets.of(hold_out(LabelledImages(targets, targets))[0].labels)

    @cached_property
    def digest(self) -> str:
        """Digest of the file's bytes."""
        return self._digest(believe=True)

    def digest_of_bytes(self) -> str:
        return self._digest(believe=False)

    def _digest(self, believe: bool) -> str:
        return digest_of(self.path, "file", [self.path], self._hashed, believe)

    def _hashed(self) -> str:
        try:
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            self._refuse(f"cannot be read ({error.strerror})")

    def read(self) -> tuple[LabelledImages, LabelledImages]:
        assert self.facts  # all headers and labels are checked
        train = self._split("train")
        return (train, self._split("test")) if self._has_test else hold_out(train)

    def stored(self) -> tuple[Stored, Stored] | None:
        """The stored splits, if the images are uncompressed in the file, as from numpy.savez (not
        numpy.savez_compressed)."""
        assert self.facts
        if self._has_targets:
            return None
        train = self._stored("train")
        if train is None:
            return None
        if self._has_test:
            test = self._stored("test")
            return None if test is None else (train, test)
        is_test = held_out(train.labels)
        return train.where(~is_test), train.where(is_test)

    def _stored(self, split: str) -> "StoredArray | None":
        shape, dtype = self._image_header(split)
        try:
            start = self._file.position(f"{split}_images")
        except NoArrays as error:
            self._refuse(str(error))
        if start is None:
            return None
        labels = self._labels(split)
        native = dtype.newbyteorder("=")
        return StoredArray(
            labels, _planes(shape), native, self.path, split, dtype, shape[1:], start, np.arange(len(labels))
        )

    @cached_property
    def _headers(self) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """Shape and dtype of each array, without reading it."""
        try:
            if not self.path.is_file():
                self._refuse("is a folder, not an .npz file" if self.path.is_dir() else "no such file")
            return {name: (header.shape, header.dtype) for name, header in self._file.headers.items()}
        except OSError as error:
            self._refuse(f"cannot be read ({error.strerror})")
        except NoArrays as error:
            self._refuse(str(error))

    @cached_property
    def _has_test(self) -> bool:
        wanted = ("test_images", f"test_{self._kind}")
        given = [name for name in wanted if name in self._headers]
        if len(given) == 1:
            self._refuse(f"has only {given[0]}; {' and '.join(wanted)} belong together")
        return bool(given)

    @property
    def _kind(self) -> str:
        return "targets" if self._has_targets else "labels"

    @cached_property
    def _has_targets(self) -> bool:
        """Whether there are targets."""
        found = "train_targets" in self._headers
        if found and "train_labels" in self._headers:
            self._refuse("has train_labels and train_targets; keep one of them")
        return found

    def _header(self, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        if name not in self._headers:
            found = ", ".join(self._headers) or "none"
            self._refuse(f"has no array {name}; needs train_images and train_labels or train_targets, found {found}")
        return self._headers[name]

    def _image_header(self, split: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        name = f"{split}_images"
        shape, dtype = self._header(name)
        if dtype != np.uint8 and not (dtype.kind == "f" and dtype.itemsize <= 8):
            self._refuse(f"{name}: expected uint8 (0 to 255) or floats of up to 64 bits, found {dtype}")
        if len(shape) not in (2, 3, 4) or 0 in shape or (len(shape) == 4 and shape[3] not in (1, 3)):
            self._refuse(f"{name}: expected the shape {IMAGE_SHAPES}, found {shape}")
        if self._has_targets:
            self._check_target_header(split, shape[0])
            return shape, dtype
        labels_shape, labels_dtype = self._header(f"{split}_labels")
        if labels_dtype.kind not in "iu":
            hint = f"; the name for regression targets is {split}_targets" if labels_dtype.kind == "f" else ""
            self._refuse(f"{split}_labels: expected integers, found {labels_dtype}{hint}")
        if labels_shape != shape[:1]:
            self._refuse(f"{split}_labels: expected the shape {shape[:1]}, one for each image, found {labels_shape}")
        return shape, dtype

    def _check_target_header(self, split: str, N: int) -> None:
        name = f"{split}_targets"
        shape, dtype = self._header(name)
        if dtype.kind not in "fiub" or dtype.itemsize > 8:
            self._refuse(f"{name}: expected numbers of up to 64 bits, found {dtype}")
        if len(shape) not in (1, 2) or shape[0] != N:
            self._refuse(f"{name}: expected the shape ({N},) or ({N}, q), a row for each image, found {shape}")
        if not 1 <= (shape[1] if len(shape) == 2 else 1) <= MOST_OUTPUTS:
            self._refuse(f"{name}: expected 1 to {MOST_OUTPUTS} numbers for each image, found {shape[1]}")

    def _check_test_images(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        test_shape, test_dtype = self._image_header("test")
        if test_shape[1:] != shape[1:]:
            self._refuse(
                f"test_images: expected images of shape {shape[1:]} as in train_images, found {test_shape[1:]}"
            )
        if (test_dtype == np.uint8) != (dtype == np.uint8):
            self._refuse(f"test_images: are {test_dtype}, but train_images {dtype}; both must be uint8, or both floats")

    def _check_test(self, shape: tuple[int, ...], dtype: np.dtype[Any], num_classes: int) -> None:
        self._check_test_images(shape, dtype)
        for k in np.unique(self._labels("test")):
            if not 0 <= k < num_classes:
                self._refuse(f"test_labels: class {k} is not in train_labels, which has 0 to {num_classes - 1}")

    def _labels(self, split: str) -> NDArray[np.int64]:
        return self._array(f"{split}_labels").astype(np.int64)

    def _targets(self, split: str) -> NDArray[np.float64]:
        """(N, q), finite."""
        name = f"{split}_targets"
        targets = self._array(name).astype(np.float64)
        targets = targets.reshape(len(targets), -1)
        sound = (np.abs(targets) <= LARGEST_TARGET).all(axis=1)  # comparisons with NaN are false
        if not sound.all():
            which = int(np.argmin(sound))
            self._refuse(f"{name}: sample {which} has a number that is not finite, or larger than {LARGEST_TARGET:g}")
        return targets

    def _split(self, split: str) -> LabelledImages:
        images = self._array(f"{split}_images")
        labels = self._targets(split) if self._has_targets else self._labels(split)
        return LabelledImages(_as_planes(images, self.path, split, np.arange(len(images))), labels)

    def _array(self, name: str) -> NDArray[Any]:
        try:
            return self._file.read(name)
        except NoArrays as error:
            self._refuse(str(error))

    def _refuse(self, reason: str) -> NoReturn:
        refuse(self.path, reason)


@dataclass(frozen=True)
class StoredArray(Stored):
    """Images of an array in an .npz file, read one by one. split: train or test. in_file, of_sample: dtype of a number
    and shape of a sample in the array's header. start: of the array, in bytes. at: (N,), the samples' numbers in the
    array."""

    path: Path
    split: str
    in_file: np.dtype[Any]
    of_sample: tuple[int, ...]
    start: int
    at: NDArray[np.int64]

    def where(self, chosen: NDArray[np.bool_]) -> "StoredArray":
        """Some of the samples. chosen: (N,)."""
        return replace(self, labels=self.labels[chosen], at=self.at[chosen])

    def read(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        images = np.empty((len(rows), *self.of_sample), self.in_file)
        size = images.nbytes // max(1, len(rows))
        try:
            with self.path.open("rb") as file:
                for image, which in zip(images, self.at[rows], strict=True):
                    file.seek(self.start + int(which) * size)
                    if file.readinto(image) != size:
                        refuse(self.path, f"{self.split}_images is damaged: ends before sample {which}")
        except OSError as error:
            refuse(self.path, f"cannot be read ({error.strerror})")
        return _as_planes(images, self.path, self.split, self.at[rows])


def _as_planes(images: NDArray[Any], path: Path, split: str, numbers: NDArray[np.int64]) -> NDArray[Any]:
    """(N, C, H, W), in native byte order. numbers: of the samples in the file. Raises UserError for values that are not
    finite."""
    if images.dtype != np.uint8:
        finite = np.isfinite(images.reshape(len(images), -1)).all(axis=1)
        if not finite.all():
            which = int(numbers[np.argmin(finite)])
            refuse(path, f"{split}_images: sample {which} has a number that is not finite")
        images = images.astype(images.dtype.newbyteorder("="), copy=False)  # torch has no other byte order
    planes = _planes(images.shape)
    if images.ndim == 4:
        images = images.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(images.reshape(len(images), *planes))


def _planes(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(C, H, W) of one sample. Each number of a vector is a channel with its own mean and deviation."""
    if len(shape) == 2:
        return shape[1], 1, 1
    return (shape[3] if len(shape) == 4 else 1), shape[1], shape[2]
