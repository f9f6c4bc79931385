"""Writing a run directory: config.yaml, manifest.json, problem.json, theory.json, metrics.jsonl, checkpoints."""

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import yaml

from ncrun.errors import UserError
from ncrun.problem import Problem
from ncrun.records.files import TEMPORARY, naming, write_json, write_text
from ncrun.records.lock import Lock
from ncrun.records.read import read_manifest
from ncrun.records.whole import STATES


class RunDirectory:
    """One run's records. One process at a time may hold them.

    identity: a hash of all that decides the run's numbers; a directory of another one is refused.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self.path = path
        self.identity = identity
        self._manifest_path = path / "manifest.json"
        self._lock = Lock(path)
        self._manifest: dict[str, Any] = {}
        self._metrics_hash = hashlib.sha256()

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
        write_text(self.path / "config.yaml", yaml.safe_dump(config, sort_keys=False))
        write_json(self.path / "problem.json", problem.as_json())
        write_json(self.path / "theory.json", theory)

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
        self._lock.check()
        self._manifest |= changes
        write_json(self._manifest_path, self._manifest)

    def close(self, **changes: Any) -> None:
        """Write the last entries and let go of the lock. Where nothing was begun, the old manifest stays."""
        if self._manifest:
            self.update(**changes)
        if changes.get("state") == "done":
            with contextlib.suppress(OSError):
                self.previous_checkpoint.unlink(missing_ok=True)
        self.release()

    def append(self, row: dict[str, Any]) -> None:
        """Add one line to metrics.jsonl, or nothing.

        Raises ValueError for a number that JSON does not know, OSError if the disk is full, LockLost.
        """
        line = (json.dumps(row, allow_nan=False) + "\n").encode()
        self._lock.check()
        with naming(self.metrics), self.metrics.open("ab", buffering=0) as file:
            before, rest = file.seek(0, os.SEEK_END), line
            try:
                while rest:
                    rest = rest[file.write(rest) :]
            except OSError:
                with contextlib.suppress(OSError):
                    file.truncate(before)
                raise
        self._metrics_hash.update(line)

    def last_row(self) -> dict[str, Any]:
        """The last line of metrics.jsonl."""
        row: dict[str, Any] = json.loads(self.metrics.read_text().splitlines()[-1])
        return row

    def mark(self) -> dict[str, Any]:
        """What a checkpoint has to know of metrics.jsonl: its bytes, all on the disk now, and their SHA-256.

        The hash is of what was written, not of what is read back, so that it does not vouch for damage.
        """
        self._lock.check()
        if not self.metrics.is_file():
            return {"size": 0, "sha256": hashlib.sha256().hexdigest()}
        with naming(self.metrics), self.metrics.open("rb") as file:
            os.fsync(file.fileno())
        return {"size": self.metrics.stat().st_size, "sha256": self._metrics_hash.hexdigest()}

    def fits(self, mark: dict[str, Any]) -> bool:
        """Whether metrics.jsonl begins with the bytes that a mark was made of."""
        there = self.metrics.stat().st_size if self.metrics.is_file() else 0
        return there >= mark["size"] and bool(self._hash_of_first(mark["size"]).hexdigest() == mark["sha256"])

    def cut_metrics(self, size: int) -> None:
        """Take metrics.jsonl back to its first `size` bytes: what a checkpoint knows of it."""
        with naming(self.metrics):
            self.metrics.touch()
            os.truncate(self.metrics, size)
        self._metrics_hash = self._hash_of_first(size)

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
    return file.name != ".lock" and not TEMPORARY.fullmatch(file.name)
