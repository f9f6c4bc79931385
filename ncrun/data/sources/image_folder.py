"""A folder of images in torchvision's ImageFolder layout, one sub-folder for each class. Torch-free."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, NoReturn

import numpy as np
from numpy.typing import NDArray

from ncrun.data.image_files import SUFFIXES, NoImage, add_to_digest, image_paths, pixels
from ncrun.data.remembered_digest import digest_of
from ncrun.data.source import DataSetFacts
from ncrun.data.sources.own import OwnData, refuse
from ncrun.data.splits import HELD_OUT, LabelledImages
from ncrun.data.stored import Stored
from ncrun.errors import UserError

Listing = dict[str, list[Path]]


@dataclass(frozen=True)
class ImageFolder(OwnData):
    """Your own folder: path/train/CLASS/* and path/test/CLASS/*, or path/CLASS/* alone.

    size: every image is resized to size x size.
    channels: 1 (grey) or 3 (RGB).
    """

    name: str = "image_folder"
    size: int | None = 32
    channels: int | None = 3

    words: ClassVar[str] = "image_folder"
    what: ClassVar[str] = "DIR, a folder of images"

    def open(self, path: Path) -> "FolderOfImages":
        assert self.size is not None
        assert self.channels is not None
        return FolderOfImages(path, self.size, self.channels)

    def check_keys(self) -> None:
        super().check_keys()
        if self.size is None:
            raise UserError("dataset.size=null: the images of a folder may differ in size; give one size for all")
        if self.channels not in (1, 3):
            raise UserError(f"dataset.channels={self.channels}: must be 1 (grey) or 3 (RGB) for a folder of images")


class FolderOfImages:
    """path/train/CLASS/* and path/test/CLASS/* (or val/, if there is no test/), or only path/CLASS/*: then every fifth
    image of each class is a test sample.

    Classes are numbered in the sorted order of their folders' names. Images are converted to grey (channels 1) or RGB
    (3) and resized to size x size (bilinear, with antialiasing). Hidden files and files without an image's suffix are
    skipped.
    """

    def __init__(self, path: Path, size: int, channels: int) -> None:
        self.path, self.size, self.channels = path, size, channels

    @property
    def facts(self) -> DataSetFacts:
        train, _ = self._files
        sizes = tuple(len(files) for files in train.values())
        return DataSetFacts(sizes, (self.channels, self.size, self.size), class_names=tuple(train))

    @cached_property
    def digest(self) -> str:
        """Digest of the images' names and bytes, including class folders and splits."""
        return self._digest(believe=True)

    def digest_of_bytes(self) -> str:
        return self._digest(believe=False)

    def _digest(self, believe: bool) -> str:
        return digest_of(self.path, "images", self._paths(), self._hashed, believe)

    def _hashed(self) -> str:
        content = hashlib.sha256()
        for path in self._paths():
            with self._naming(path):
                add_to_digest(path, path.relative_to(self.path).as_posix(), content)
        return content.hexdigest()

    def _paths(self) -> Iterator[Path]:
        return (path for listing in self._files for files in listing.values() for path in files)

    def read(self) -> tuple[LabelledImages, LabelledImages]:
        train, test = (LabelledImages(split.whole(), split.labels) for split in self.stored())
        return train, test

    def stored(self) -> tuple[Stored, Stored]:
        train, test = (self._stored(listing) for listing in self._files)
        return train, test

    @cached_property
    def _files(self) -> tuple[Listing, Listing]:
        """The images of each class, for training and for testing."""
        try:
            return self._found()
        except OSError as error:
            self._refuse(f"cannot be read ({error.strerror})")

    def _found(self) -> tuple[Listing, Listing]:
        if not self.path.is_dir():
            self._refuse("is a file, not a folder" if self.path.exists() else "no such folder")
        for_testing = next((name for name in ("test", "val") if (self.path / name).is_dir()), None)
        if (self.path / "train").is_dir():
            if for_testing is not None:
                return self._two_splits("train", for_testing)
            if _folders(self.path / "train"):
                self._refuse(
                    f"has train/ but neither test/ nor val/; with dataset.path={self.path / 'train'} every fifth of"
                    " its images is a test sample"
                )
        whole = self._classes(self.path)
        train = {name: [f for i, f in enumerate(files, start=1) if i % HELD_OUT] for name, files in whole.items()}
        return train, {name: files[HELD_OUT - 1 :: HELD_OUT] for name, files in whole.items()}

    def _two_splits(self, for_training: str, for_testing: str) -> tuple[Listing, Listing]:
        train, test = (self._classes(self.path / name) for name in (for_training, for_testing))
        for lacking, other, names in (
            (for_training, for_testing, test.keys() - train.keys()),
            (for_testing, for_training, train.keys() - test.keys()),
        ):
            if names:
                self._refuse(
                    f"{lacking}/ has no folder {min(names)}/, but {other}/ has one; both need the same classes"
                )
        return train, test

    def _classes(self, root: Path) -> Listing:
        listing = {}
        for folder in _folders(root):
            with self._naming(folder):
                listing[folder.name] = image_paths(folder)
                self._refuse_other_text([folder, *listing[folder.name]])
        inside = "" if root == self.path else f"{root.name}/ "
        if len(listing) < 2:
            found = f"only {next(iter(listing))}/" if listing else "none"
            self._refuse(f"{inside}needs at least two classes, each a folder of images; found {found}")
        for name, files in listing.items():
            if not files:
                self._refuse(f"{inside}class folder {name}/ holds no image ({', '.join(SUFFIXES)})")
        return listing

    def _stored(self, listing: Listing) -> "StoredFiles":
        labels = np.repeat(np.arange(len(listing)), [len(files) for files in listing.values()])
        names = [os.fsencode(path.relative_to(self.path)) for files in listing.values() for path in files]
        shape = (self.channels, self.size, self.size)
        return StoredFiles(labels, shape, np.dtype(np.uint8), self.path, np.array(names))

    def _refuse_other_text(self, paths: Sequence[Path]) -> None:
        for path in paths:
            name = str(path.relative_to(self.path))
            if not name.isprintable():
                self._refuse(f"{name!a} has a name that is not UTF-8, or cannot be printed")

    @contextmanager
    def _naming(self, path: Path) -> Iterator[None]:
        """Adds the name of the image or folder to an error."""
        with _naming(self.path, path.relative_to(self.path)):
            yield

    def _refuse(self, reason: str) -> NoReturn:
        refuse(self.path, reason)


@dataclass(frozen=True)
class StoredFiles(Stored):
    """The images of a split. names: (N,), of the files below the root, in one array of bytes: every reading process
    would copy a million Python objects."""

    root: Path
    names: NDArray[np.bytes_]

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        channels, size, _ = self.shape
        images = np.empty((len(rows), *self.shape), np.uint8)
        for i, row in enumerate(rows):
            name = Path(os.fsdecode(self.names[row]))
            with _naming(self.root, name):
                images[i] = pixels(self.root / name, size, channels)
        return images


@contextmanager
def _naming(root: Path, name: Path) -> Iterator[None]:
    try:
        yield
    except NoImage as error:
        raise UserError(f"dataset.path={root}: {name} {error}") from error


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
