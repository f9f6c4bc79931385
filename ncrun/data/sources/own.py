"""A user's own data: what the folder of images and the .npz file have in common. Torch-free."""

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
    """Own data at their place. Raises UserError, in one line, if they are not as they must be.

    facts: from names, headers and labels alone. digest: of the content, wherever it lies; it may be remembered.
    digest_of_bytes: the same, from the bytes in any case.
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
    """path: where the data lie.

    what: what is expected there.
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
            raise UserError(f"dataset={self.name}: say where the data lie by dataset.path={self.what}")

    def read(self, folder: Path) -> tuple[LabelledImages, LabelledImages]:
        """From its own place, not from the folder of data sets."""
        return opened(self, self.place).read()

    def stored(self, folder: Path) -> tuple[Stored, Stored] | None:
        return opened(self, self.place).stored()


@cache
def opened(source: OwnData, path: Path) -> Reader:
    """The one reader of a process for these data, which looks at them once. path: absolute, as folders may change."""
    return source.open(path)


def refuse(path: Path, reason: str) -> NoReturn:
    raise UserError(f"dataset.path={path}: {reason}")
