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
    """One run's records. One process at a time may hold them.

    identity: a hash of all that decides the run's numbers; a directory of another one is refused.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self.path = path
        self.identity = identity
        self._lock = Lock(path)
        self._manifest: dict[str, Any] = {}
        self._metrics_hash = hashlib.sha256()
        # Of what was written, not of what is on the disk, so that a seal does not vouch for damage.
        self._digests: dict[str, str] = {}
        self.listeners: list[Callable[[dict[str, Any]], object]] = []  # that are told every row once it is written

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.pt"

    @property
    def previous_checkpoint(self) -> Path:
        """The one before the last, until the run is done."""
        return self.path / "checkpoint.previous.pt"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    def state(self) -> str | None:
        """The state of this very run in the directory: None if it is new, else one of STATES.

        Raises UserError if the directory holds anything else, or cannot be one.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"run_dir={self.path}: is a file")
        if not self.path.is_dir() or not any(_counts(file) for file in self.path.iterdir()):
            return None
        try:
            manifest = read_manifest(self.path)
        except UserError as error:
            raise UserError(f"run_dir={self.path}: {error}") from error
        if manifest is None:
            raise UserError(f"run_dir={self.path}: holds files that are not a run's; name an empty or a new folder")
        if manifest.get("identity") != self.identity or manifest.get("state") not in STATES:
            raise UserError(
                f"run_dir={self.path}: holds another run (its configuration is in config.yaml); name another folder"
            )
        return str(manifest["state"])

    def hold(self) -> bool:
        """Take the lock. Nothing else is written.

        Returns False, holding nothing, if another process has finished the run meanwhile. Raises UserError if one is at
        it, or if the folder cannot be written.
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
        """Write what is known before training. config: every key with its value. problem: what theory was asked, and
        theory its answer. facts: further entries of the manifest."""
        for file in self.path.iterdir():
            if TEMPORARY.fullmatch(file.name):  # of a process that was killed
                file.unlink()
        # First the manifest: without it, nobody could tell that the other files are this run's.
        self._manifest = {"state": "running", "identity": self.identity, **facts}
        self.update()
        self.write("config.yaml", yaml.safe_dump(config, sort_keys=False).encode())
        self.write_json("problem.json", problem.as_json())
        self.write_json("theory.json", theory)

    @property
    def held(self) -> bool:
        return self._lock.held

    def release(self) -> None:
        """Let go of the lock, if it is held, and write nothing."""
        self._lock.release()

    @property
    def environment_changes(self) -> list[str]:
        """What an earlier sitting of this run noted of its surroundings."""
        noted = (read_manifest(self.path) or {}).get("environment_changes")
        return list(map(str, noted)) if isinstance(noted, list) else []

    @property
    def summary(self) -> str:
        """What a finished run's manifest says in one line."""
        return str(self._manifest["summary"])

    def update(self, **changes: Any) -> None:
        """Change entries of the manifest. Raises LockLost if another process has taken over."""
        self._manifest |= changes
        self.write_json("manifest.json", self._manifest)

    def write_json(self, name: str, content: Any) -> None:
        """Write a JSON file. Raises ValueError for a number that JSON does not know, OSError, LockLost."""
        self.write(name, as_json(content).encode())

    def write(self, name: str, content: bytes) -> None:
        """Write a file of the record. Raises OSError, LockLost."""
        with self._lock.writing():
            write_aside(self.path / name, lambda file: file.write(content), aside=self._lock.aside)
        self._digests[name] = hashlib.sha256(content).hexdigest()

    def write_checkpoint(self, content: bytes | memoryview) -> None:
        """Write the newest checkpoint, sealed; the one that was it so far is the previous one. Raises OSError,
        LockLost."""
        with self._lock.writing():
            digest = write_sealed(self.checkpoint, content, self.previous_checkpoint, self._lock.aside)
        self._digests[self.checkpoint.name] = digest

    def remove(self, file: Path) -> None:
        """Remove a file of the record, if it is there. Raises OSError, LockLost."""
        with self._lock.writing(), contextlib.suppress(FileNotFoundError):
            if self._lock.aside is None:
                file.unlink()
            else:  # not from its place: another process, that has taken over, might have put it there
                gone = self._lock.aside / file.name
                file.replace(gone)
                gone.unlink()

    def close(self, **changes: Any) -> None:
        """Write the last entries and let go of the lock. Where nothing was begun, the old manifest stays. A run that is
        done is sealed."""
        if changes.get("state") == "done":
            self.remove(self.previous_checkpoint)
            self._manifest |= changes
            changes["seal"] = seal.made_of(self._manifest, self._digests_of_all())
        if self._manifest:
            self.update(**changes)
        self.release()

    def _digests_of_all(self) -> dict[str, str]:
        """Of what was not written in this sitting, such as a last checkpoint that was there, by what is on the disk."""
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
        """Add one line to metrics.jsonl, or nothing.

        Raises ValueError for a number that JSON does not know, OSError if the disk is full, LockLost.
        """
        line = (json.dumps(row, allow_nan=False) + "\n").encode()
        # Opened before it is known that the run is still held: who takes over makes a new file.
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
        """What a checkpoint has to know of metrics.jsonl: its bytes, all on the disk now, and their SHA-256.

        The hash is of what was written, not of what is read back, so that it does not vouch for damage.
        """
        with naming(self.metrics), self._lock.writing():
            if not self.metrics.is_file():
                return {"size": 0, "sha256": hashlib.sha256().hexdigest()}
            with self.metrics.open("rb") as file:
                os.fsync(file.fileno())
            return {"size": self.metrics.stat().st_size, "sha256": self._metrics_hash.hexdigest()}

    def fits(self, mark: dict[str, Any]) -> bool:
        """Whether metrics.jsonl begins with the bytes that a mark was made of."""
        there = self.metrics.stat().st_size if self.metrics.is_file() else 0
        return there >= mark["size"] and bool(self._hash_of_first(mark["size"]).hexdigest() == mark["sha256"])

    def cut_metrics(self, size: int) -> None:
        """Take metrics.jsonl back to its first `size` bytes: what a checkpoint knows of it. It is a new file then: a
        process that held the run before, and still has the old one open, writes to nobody's."""
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
    """Whether a file makes a folder more than an empty one."""
    return not (is_lock(file) or TEMPORARY.fullmatch(file.name))
