"""Writing a run directory: config.yaml, manifest.json, problem.json, theory.json, metrics.jsonl, checkpoints."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from ncrun.errors import UserError
from ncrun.problem import Problem
from ncrun.records import seal
from ncrun.records.files import TEMPORARY, as_json, naming, write_aside, write_sealed
from ncrun.records.lock import Lock, is_lock
from ncrun.records.read import read_manifest
from ncrun.records.whole import STATES


class RunDirectory:
    """One run's record, which only one process at a time can hold.

    identity: a hash of everything that decides the run's numbers; a directory with another one is refused.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self.path = path
        self.identity = identity
        self._lock = Lock(path)
        self._manifest: dict[str, Any] = {}
        self._metrics_hash = hashlib.sha256()
        # Of the written bytes, not of those on the disk, so that a seal does not cover damage.
        self._digests: dict[str, str] = {}
        self.listeners: list[Callable[[dict[str, Any]], object]] = []  # called with every row after it is written

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.pt"

    @property
    def previous_checkpoint(self) -> Path:
        """The checkpoint before the last, until the run is done."""
        return self.path / "checkpoint.previous.pt"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    def state(self) -> str | None:
        """The state of this run in the directory: None if it is new, else one of STATES.

        Raises UserError if the path is a file, or the directory holds other files.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"run_dir={self.path}: is a file, not a folder")
        if not self.path.is_dir() or not any(_counts(file) for file in self.path.iterdir()):
            return None
        try:
            manifest = read_manifest(self.path)
        except UserError as error:
            raise UserError(f"run_dir={self.path}: {error}") from error
        if manifest is None:
            raise UserError(f"run_dir={self.path}: holds files that are not a run's; give an empty or a new folder")
        if manifest.get("identity") != self.identity or manifest.get("state") not in STATES:
            raise UserError(
                f"run_dir={self.path}: holds another run (its configuration is in config.yaml); give another folder"
            )
        return str(manifest["state"])

    def hold(self) -> bool:
        """Takes the lock, and writes nothing else.

        Returns False, without the lock, if another process has finished the run meanwhile. Raises UserError if another
        process holds it, or if the folder cannot be written.
        """
        self._lock.take()
        try:
            if self.state() != "done":
                return True
        except UserError:
            self.release()
            raise
        self.release()
        return False

    def begin(self, config: dict[str, Any], problem: Problem, theory: dict[str, Any], facts: dict[str, Any]) -> None:
        """Writes everything that is known before training. config: every key with its value. problem, theory: as posed
        and predicted. facts: further entries of the manifest."""
        for file in self.path.iterdir():
            if TEMPORARY.fullmatch(file.name):  # left by a killed process
                file.unlink()
        # The manifest first: it identifies the other files as this run's.
        self._manifest = {"state": "running", "identity": self.identity, **facts}
        self.update()
        self.write("config.yaml", yaml.safe_dump(config, sort_keys=False).encode())
        self.write_json("problem.json", problem.as_json())
        self.write_json("theory.json", theory)

    @property
    def held(self) -> bool:
        return self._lock.held

    def release(self) -> None:
        """Releases the lock, if it is held, without writing."""
        self._lock.release()

    @property
    def environment_changes(self) -> list[str]:
        """The environment that an earlier process of this run recorded."""
        noted = (read_manifest(self.path) or {}).get("environment_changes")
        return list(map(str, noted)) if isinstance(noted, list) else []

    @property
    def summary(self) -> str:
        """The summary in a finished run's manifest."""
        return str(self._manifest["summary"])

    def update(self, **changes: Any) -> None:
        """Changes entries of the manifest. Raises LockLost if another process has taken over."""
        self._manifest |= changes
        self.write_json("manifest.json", self._manifest)

    def write_json(self, name: str, content: Any) -> None:
        """Writes a JSON file. Raises ValueError for a number that JSON cannot hold, OSError, LockLost."""
        self.write(name, as_json(content).encode())

    def write(self, name: str, content: bytes) -> None:
        """Writes a file of the record. Raises OSError, LockLost."""
        with self._lock.writing():
            write_aside(self.path / name, lambda file: file.write(content), aside=self._lock.aside)
        self._digests[name] = hashlib.sha256(content).hexdigest()

    def write_checkpoint(self, content: bytes | memoryview) -> None:
        """Writes the newest checkpoint with its checksum; the one before becomes the previous one. Raises OSError,
        LockLost."""
        with self._lock.writing():
            digest = write_sealed(self.checkpoint, content, self.previous_checkpoint, self._lock.aside)
        self._digests[self.checkpoint.name] = digest

    def remove(self, file: Path) -> None:
        """Removes a file of the record, if it exists. Raises OSError, LockLost."""
        with self._lock.writing(), contextlib.suppress(FileNotFoundError):
            if self._lock.aside is None:
                file.unlink()
            else:  # moved first: at its path there might be a new file of another process that has taken over
                gone = self._lock.aside / file.name
                file.replace(gone)
                gone.unlink()

    def close(self, **changes: Any) -> None:
        """Writes the last entries and releases the lock. If nothing was begun, the old manifest stays. A finished run
        is sealed."""
        if changes.get("state") == "done":
            self.remove(self.previous_checkpoint)
            self._manifest |= changes
            changes["seal"] = seal.made_of(self._manifest, self._digests_of_all())
        if self._manifest:
            self.update(**changes)
        self.release()

    def _digests_of_all(self) -> dict[str, str]:
        """Digests of files that another process wrote, such as an earlier last checkpoint, from the disk."""
        found = {}
        for name in seal.FILES:
            if name == self.metrics.name:
                found[name] = self._metrics_hash.hexdigest()
            elif name in self._digests:
                found[name] = self._digests[name]
            elif (self.path / name).is_file():
                found[name] = hashlib.sha256((self.path / name).read_bytes()).hexdigest()
        return found

    def append(self, row: dict[str, Any]) -> None:
        """Adds one line to metrics.jsonl, or nothing.

        Raises ValueError for a number that JSON cannot hold, OSError if the disk is full, LockLost.
        """
        line = (json.dumps(row, allow_nan=False) + "\n").encode()
        # Opened before checking the lock: a process that takes over makes a new file.
        with naming(self.metrics), self.metrics.open("ab", buffering=0) as file, self._lock.writing():
            before, rest = file.seek(0, os.SEEK_END), line
            try:
                while rest:
                    rest = rest[file.write(rest) :]
            except OSError:
                with contextlib.suppress(OSError):
                    file.truncate(before)
                raise
        self._metrics_hash.update(line)
        for tell in self.listeners:
            tell(row)

    def last_row(self) -> dict[str, Any]:
        """The last line of metrics.jsonl."""
        row: dict[str, Any] = json.loads(self.metrics.read_text().splitlines()[-1])
        return row

    def mark(self) -> dict[str, Any]:
        """The size of metrics.jsonl, flushed to the disk, and its SHA-256, for a checkpoint.

        The hash is of the written bytes, not of those read back, so that it does not cover damage.
        """
        with naming(self.metrics), self._lock.writing():
            if not self.metrics.is_file():
                return {"size": 0, "sha256": hashlib.sha256().hexdigest()}
            with self.metrics.open("rb") as file:
                os.fsync(file.fileno())
            return {"size": self.metrics.stat().st_size, "sha256": self._metrics_hash.hexdigest()}

    def fits(self, mark: dict[str, Any]) -> bool:
        """Whether metrics.jsonl begins with the bytes of a mark."""
        there = self.metrics.stat().st_size if self.metrics.is_file() else 0
        return there >= mark["size"] and bool(self._hash_of_first(mark["size"]).hexdigest() == mark["sha256"])

    def cut_metrics(self, size: int) -> None:
        """Cuts metrics.jsonl to its first `size` bytes, those of a checkpoint. The result is a new file: a former
        holder that still has the old one open cannot write to it."""
        content = b""
        if self.metrics.is_file():
            with naming(self.metrics), self.metrics.open("rb") as file:
                content = file.read(size)
        self.write(self.metrics.name, content)
        self._metrics_hash = hashlib.sha256(content)

    def _hash_of_first(self, size: int) -> "hashlib._Hash":
        found = hashlib.sha256()
        if self.metrics.is_file():
            with self.metrics.open("rb") as file:
                while size > 0 and (part := file.read(min(size, 1 << 20))):
                    found.update(part)
                    size -= len(part)
        return found


def _counts(file: Path) -> bool:
    """Whether a file counts as content of a folder."""
    return not (is_lock(file) or TEMPORARY.fullmatch(file.name))
