"""Removes run directories, and nothing else."""

import contextlib
import os
import shutil
from pathlib import Path

from ncrun.errors import UserError
from ncrun.records import seal
from ncrun.records.files import TEMPORARY
from ncrun.records.glance import Glance
from ncrun.records.lock import Lock, is_lock
from ncrun.records.read import read_manifest
from ncrun.records.whole import STATES

# Written by loggers (ncrun/loggers): folders, and notes with the logger's name for the run.
OF_LOGGERS = ("tensorboard", "wandb")
# The manifest is removed last: it identifies the other files.
WRITTEN = (*seal.FILES, "checkpoint.previous.pt", "curves.png", "wandb.json", "mlflow.json", "manifest.json")


def size_of(run: Glance) -> int:
    """Bytes of a run's files."""
    total = 0
    for folder, _, files in os.walk(run.path):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_size
    return total


def remove(run: Glance) -> None:
    """Removes a run's files, its loggers' files, and its folder.

    Raises UserError, and removes nothing, for a run that is alive or has changed since it was listed, for a run in an
    archive or behind a link, and for a folder that is not a run or holds other files.
    """
    path = run.path
    if not path.is_dir() or path.is_symlink():
        raise UserError(f"{path}: is not a folder; only run directories are removed")
    before = _known_manifest(path)
    lock = Lock(path)
    lock.take()  # raises UserError if the run is alive
    try:
        if _known_manifest(path) != before or before.get("state") != run.manifest.get("state", before.get("state")):
            raise UserError(f"{path}: has changed meanwhile; it is not removed")
        others = [file.name for file in path.iterdir() if not (_is_own(file) or _is_passing(file))]
        if others:
            raise UserError(f"{path}: holds files of no run ({', '.join(sorted(others)[:3])}); it is not removed")
        for file in path.iterdir():
            if TEMPORARY.fullmatch(file.name):
                file.unlink()
        for name in OF_LOGGERS:
            if (path / name).is_dir():
                shutil.rmtree(path / name)
        for name in WRITTEN:
            with contextlib.suppress(FileNotFoundError):
                (path / name).unlink()
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be removed ({error.strerror})") from error
    finally:
        lock.release()
    try:
        path.rmdir()
    except OSError as error:  # a process has just begun it again
        raise UserError(f"{path}: is not empty; another process may have begun it again") from error


def _is_own(file: Path) -> bool:
    of_logger = file.name in OF_LOGGERS and file.is_dir() and not file.is_symlink()
    return of_logger or (file.name in WRITTEN and not file.is_dir())


def _is_passing(file: Path) -> bool:
    return bool(is_lock(file) or TEMPORARY.fullmatch(file.name))


def _known_manifest(path: Path) -> dict[str, object]:
    manifest = read_manifest(path) or {}
    if manifest.get("state") not in STATES or not isinstance(manifest.get("identity"), str):
        raise UserError(f"{path}: its manifest.json is not a run's; only run directories are removed")
    return manifest
