"""The common part of data sets that torchvision reads, and downloads if they are missing."""

import contextlib
import hashlib
import io
import socket
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ncrun.data.source import Source
from ncrun.data.splits import LabelledImages
from ncrun.errors import UserError

DOWNLOAD_TIMEOUT_S = 10


@dataclass(frozen=True)
class Downloaded(Source):
    """of_torchvision: the name of torchvision's class. layout: its files in a folder."""

    of_torchvision: ClassVar[str]
    layout: ClassVar[str]

    @abstractmethod
    def base(self, folder: Path) -> Path:
        """The unpacked files in a folder of data sets."""

    @abstractmethod
    def sums(self, theirs: Any) -> dict[str, str]:
        """MD5 sums of the unpacked files by name; theirs: torchvision's class."""

    def which(self, is_train: bool) -> dict[str, Any]:
        """Arguments with which torchvision's class opens the training or the test split."""
        return {"train": is_train}

    def labels(self, split: Any) -> NDArray[np.int64]:
        """(N,) from torchvision's opened split, 0 to K-1. Raises UserError if they are not."""
        return np.asarray(split.targets, dtype=np.int64)

    def refuse_damaged(self, theirs: Any, base: Path) -> None:
        """Raises UserError with the file's name, before torchvision would fail on it or silently download everything
        again."""
        for name, md5 in self.sums(theirs).items():
            path = base / name
            if not path.is_file():
                continue
            with self.opened(path) as file:
                if hashlib.file_digest(file, "md5").hexdigest() != md5:
                    self.refuse_file(path, f"its MD5 is not {md5}")

    @contextlib.contextmanager
    def opened(self, path: Path) -> Iterator[io.BufferedReader]:
        """Raises UserError for a file that cannot be read."""
        try:
            with path.open("rb") as file:
                yield file
        except OSError as error:
            raise UserError(f"dataset={self.name}: {path} cannot be read ({error.strerror})") from error

    def refuse_file(self, path: Path, reason: str) -> None:
        raise UserError(f"dataset={self.name}: {path} is damaged ({reason}); delete it to download it again")

    def read(self, folder: Path) -> tuple[LabelledImages, LabelledImages]:
        theirs = getattr(_torchvision_datasets(), self.of_torchvision)
        base = self.base(folder)
        self.refuse_damaged(theirs, base)
        absent = [path for path in (base, *base.parents) if path.is_relative_to(folder) and not path.exists()]
        try:
            train, test = (self._split(theirs, folder, is_train) for is_train in (True, False))
        except UserError:
            raise
        except (OSError, RuntimeError, ValueError, EOFError, AssertionError) as error:
            for path in absent:  # remains of a failed download, deepest first; never a folder that existed before
                with contextlib.suppress(OSError):
                    path.rmdir()
            if isinstance(error, PermissionError):
                raise UserError(f"data_dir={folder}: is not writable, and {self.name} is not in it") from error
            raise UserError(
                f"dataset={self.name}: no files in {folder} and no download ({_first_line(error)}); either put the"
                f" files there in torchvision's layout ({self.layout}), or give their folder by data_dir=... or"
                " NCRUN_DATA"
            ) from error
        return train, test

    def _split(self, theirs: Any, folder: Path, is_train: bool) -> LabelledImages:
        previous = socket.getdefaulttimeout()
        socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_S)
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                split = theirs(root=str(folder), download=True, **self.which(is_train))
        finally:
            socket.setdefaulttimeout(previous)
        images = np.asarray(split.data)
        if images.ndim == 3:
            images = images[:, None]
        elif images.shape[-1] == 3:
            images = images.transpose(0, 3, 1, 2)
        return LabelledImages(np.ascontiguousarray(images), self.labels(split))


def _torchvision_datasets() -> Any:
    try:
        from torchvision import datasets
    except RuntimeError as error:
        if "torchvision::nms" in str(error):
            raise UserError(
                "torch and torchvision come from different builds; install both in one command from one index"
                " (the Makefile does: remove .venv and run make)"
            ) from error
        raise
    return datasets


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
