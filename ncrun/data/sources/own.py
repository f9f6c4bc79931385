"""A user's own data: the common part of the folder of images and the .npz file. Torch-free."""

from abc import abstractmethod
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar, NoReturn, Protocol

from ncrun.data.source import DataSetFacts, Source
from ncrun.data.splits import LabelledImages
from ncrun.data.stored import Stored
from ncrun.errors import UserError


class Reader(Protocol):
    """A reader of own data. Raises UserError, in one line, for invalid data.

    facts: from names, headers and labels only. digest: of the content, independent of the path; it may come from a
    cache. digest_of_bytes: the same, always from the bytes.
    """

    @property
    def facts(self) -> DataSetFacts: ...

    @property
    def digest(self) -> str: ...

    def digest_of_bytes(self) -> str: ...

    def read(self) -> tuple[LabelledImages, LabelledImages]: ...

    def stored(self) -> tuple[Stored, Stored] | None: ...


@dataclass(frozen=True)
class OwnData(Source):
    """path: file or folder of the data.

    what: words for the expected file or folder.
    """

    path: str | None = None

    what: ClassVar[str]
    has_test_split: ClassVar[bool] = False

    @abstractmethod
    def open(self, path: Path) -> Reader:
        """The reader of the data at an absolute path."""

    @property
    def place(self) -> Path:
        return Path(self.path or "").expanduser().absolute()

    @property
    def facts(self) -> DataSetFacts:
        return opened(self, self.place).facts

    @property
    def digest(self) -> str:
        return opened(self, self.place).digest

    def digest_of_bytes(self) -> str:
        return self.open(self.place).digest_of_bytes()  # what is there now

    @property
    def title(self) -> str:
        return f"{self.name} {Path(self.path or '').name}"

    def check_keys(self) -> None:
        super().check_keys()
        if not self.path:
            raise UserError(f"dataset={self.name}: give the data by dataset.path={self.what}")

    def read(self, folder: Path) -> tuple[LabelledImages, LabelledImages]:
        """Read from dataset.path, not from the folder of data sets."""
        return opened(self, self.place).read()

    def stored(self, folder: Path) -> tuple[Stored, Stored] | None:
        return opened(self, self.place).stored()


@cache
def opened(source: OwnData, path: Path) -> Reader:
    """The reader for these data, cached in a process, so that they are read once. path: absolute, because the working
    directory may change."""
    return source.open(path)


def refuse(path: Path, reason: str) -> NoReturn:
    raise UserError(f"dataset.path={path}: {reason}")
