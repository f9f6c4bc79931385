"""Writing a run directory: config.yaml, manifest.json, theory.json, metrics.jsonl, checkpoint.pt and curves.png."""

import fcntl
import json
import os
from pathlib import Path
from typing import IO, Any

from omegaconf import OmegaConf

from ncrun.config import RunConfig
from ncrun.errors import UserError
from ncrun.records.files import write_json, write_text
from ncrun.records.read import read_manifest


class RunDirectory:
    """One run's records. One process at a time may hold it (an flock, free at once when its holder dies).

    manifest: the file that states what the directory is; "summary.json" where it is the parent of several restarts.
    """

    def __init__(self, path: Path, manifest: str = "manifest.json") -> None:
        self.path = path
        self._manifest_path = path / manifest
        self._lock: IO[str] | None = None
        self._manifest: dict[str, Any] = {}

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.pt"

    @property
    def curves(self) -> Path:
        return self.path / "curves.png"

    def state(self, run: RunConfig) -> str | None:
        """The state of this very run in the directory: None if it is new, else running, done, failed or interrupted.

        Raises UserError if the directory holds anything else, or cannot be one.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"run_dir={self.path}: is a file")
        if not self.path.is_dir() or not any(f for f in self.path.iterdir() if f.name != ".lock"):
            return None
        try:
            manifest = read_manifest(self.path, self._manifest_path.name)
        except UserError as error:
            raise UserError(f"run_dir={self.path}: {error}") from error
        if manifest is None:
            raise UserError(f"run_dir={self.path}: holds files that are not a run's; name an empty or a new folder")
        if manifest.get("identity") != run.identity():
            raise UserError(
                f"run_dir={self.path}: holds another run (its configuration is in config.yaml); name another folder"
            )
        return str(manifest["state"])

    def open(self, run: RunConfig, theory: dict[str, Any], facts: dict[str, Any], reopen: bool = False) -> bool:
        """Take the lock and write what is known before training. facts: further entries of the manifest.

        reopen: a finished run is opened as well (one restart of several that are not all finished).

        Returns False, having written nothing, if another process has finished the run meanwhile. Raises UserError if
        one is at it, or if the folder cannot be written.
        """
        self._take_lock()
        if self.state(run) == "done" and not reopen:
            self._release_lock()
            return False
        write_text(self.path / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(run.as_dict())))
        write_json(self.path / "theory.json", theory)
        self._manifest = {"state": "running", "identity": run.identity(), **facts}
        self.update()
        return True

    def _take_lock(self) -> None:
        path = self.path / ".lock"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = path.open("w")
        except OSError as error:
            raise UserError(f"run_dir={self.path}: cannot be written ({error.strerror})") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The last holder removes the file: a lock on a removed one would keep nobody out.
            if not path.exists() or not os.path.samestat(os.fstat(lock.fileno()), path.stat()):
                raise BlockingIOError
        except OSError as error:
            lock.close()
            raise UserError(f"run_dir={self.path}: another process is training this run") from error
        self._lock = lock

    def _release_lock(self) -> None:
        if self._lock is not None:
            (self.path / ".lock").unlink(missing_ok=True)  # while it is still held
            self._lock.close()
            self._lock = None

    @property
    def summary(self) -> str:
        """What a finished run's manifest says in one line."""
        return str(self._manifest["summary"])

    def update(self, **changes: Any) -> None:
        """Change entries of the manifest."""
        self._manifest |= changes
        write_json(self._manifest_path, self._manifest)

    def close(self, **changes: Any) -> None:
        """Write the last entries and let go of the lock."""
        self.update(**changes)
        self._release_lock()

    def append(self, row: dict[str, Any]) -> None:
        """Add one line to metrics.jsonl. Raises ValueError for a number that JSON does not know."""
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")

    def last_row(self) -> dict[str, Any]:
        """The last line of metrics.jsonl."""
        row: dict[str, Any] = json.loads((self.path / "metrics.jsonl").read_text().splitlines()[-1])
        return row

    def metrics_size(self) -> int:
        """Bytes of metrics.jsonl, on the disk."""
        path = self.path / "metrics.jsonl"
        if not path.is_file():
            return 0
        with path.open("rb") as file:
            os.fsync(file.fileno())
        return path.stat().st_size

    def cut_metrics(self, size: int) -> None:
        """Take metrics.jsonl back to its first `size` bytes: what a checkpoint knows of it.

        Raises UserError if it has fewer.
        """
        path = self.path / "metrics.jsonl"
        path.touch()
        if path.stat().st_size < size:
            raise UserError(
                f"run_dir={self.path}: metrics.jsonl has lost lines that the checkpoint knows; remove the folder"
            )
        os.truncate(path, size)
