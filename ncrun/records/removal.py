"""Removing a run directory, and nothing else."""

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

# Of loggers (ncrun/loggers): folders, and notes of the name by which one knows the run.
OF_LOGGERS = ("tensorboard", "wandb")
# The manifest is the last to go: without it nobody could tell what the other files are.
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
    """Remove the files that a run writes, what its loggers wrote, and its folder.

    Raises UserError, and removes nothing, for a run that is alive or no longer what was seen of it, for what is in an
    archive, behind a link or no run, and for a folder that holds anything else.
    """
    path = run.path
    if not path.is_dir() or path.is_symlink():
        raise UserError(f"{path}: is no folder of its own; only run directories are removed")
    before = _known_manifest(path)
    lock = Lock(path)
    lock.take()  # raises UserError if the run is alive
    try:
        if _known_manifest(path) != before or before.get("state") != run.manifest.get("state", before.get("state")):
            raise UserError(f"{path}: has changed meanwhile; it is left alone")
        others = [file.name for file in path.iterdir() if not (_is_own(file) or _is_passing(file))]
        if others:
            raise UserError(f"{path}: holds what no run writes ({', '.join(sorted(others)[:3])}); it is left alone")
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
    except OSError as error:  # a process has begun it anew in this moment
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
