"""restarts=R: R ordinary runs, with consecutive seeds, in sub-folders seed-S, and a summary.json when all have
ended."""

from collections import Counter
from typing import Any

from ncrun.errors import UserError
from ncrun.records import RunDirectory
from ncrun.records.files import TEMPORARY, write_json
from ncrun.records.lock import is_lock
from ncrun.records.read import read_manifest, read_metrics
from ncrun.run import Job

# The beginning of a diverged run's reason.
DIVERGED = "diverged: "


def how_it_diverged(record: RunDirectory) -> str | None:
    """The manifest's reason if a run has diverged; otherwise None."""
    manifest = read_manifest(record.path) or {}
    reason = str(manifest.get("reason"))
    return reason if manifest.get("state") == "failed" and reason.startswith(DIVERGED) else None


class Restarts:
    """The folder of a job with restarts."""

    def __init__(self, job: Job) -> None:
        self.path = job.directory
        self._identity = job.identity
        self._records = [RunDirectory(run.directory, run.identity) for run in job.runs]

    def state(self) -> str | None:
        """The state in summary.json: "done", or "failed" if all diverged; None if it is not written yet.

        Raises UserError if the folder holds other files.
        """
        try:
            summary = read_manifest(self.path, "summary.json")
        except UserError as error:
            raise UserError(f"run_dir={self.path}: {error}") from error
        if summary is not None:
            if summary.get("identity") != self._identity:
                raise UserError(f"run_dir={self.path}: holds other runs; give another folder")
            return str(summary.get("state"))
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"run_dir={self.path}: is a file, not a folder")
        for file in self.path.iterdir() if self.path.is_dir() else ():
            if not (file.name.startswith("seed-") or is_lock(file) or TEMPORARY.fullmatch(file.name)):
                raise UserError(
                    f"run_dir={self.path}: holds files that are not restarts; give an empty or a new folder"
                )
        return None

    def has_ended(self) -> bool:
        """Whether every run is done or has diverged."""
        return all(record.state() == "done" or how_it_diverged(record) for record in self._records)

    def close(self, quiet: bool = False) -> int:
        """Writes summary.json, and prints its content unless quiet; returns the exit status (1: one has diverged).

        It follows from the runs' records, so it may be written twice, such as by a process that slept meanwhile.
        """
        runs = [_outcome(record) for record in self._records]
        words = Counter(each["verdict"]["word"] if each["state"] == "done" else "diverged" for each in runs)
        counted = ", ".join(f"{count} {word}" for word, count in words.most_common())
        content = {
            "state": "done" if any(each["state"] == "done" for each in runs) else "failed",
            "identity": self._identity,
            "finished": max(_manifest(record).get("finished") or "" for record in self._records) or None,
            "summary": f"{len(runs)} restarts: {counted}",
            "runs": runs,
        }
        write_json(self.path / "summary.json", content)
        if content["state"] == "done" and not quiet:
            print(f"{self.path}: {content['summary']}")
        return 0 if words["diverged"] == 0 else 1


def _manifest(record: RunDirectory) -> dict[str, Any]:
    manifest = read_manifest(record.path)
    assert manifest is not None
    return manifest


def _outcome(record: RunDirectory) -> dict[str, Any]:
    manifest = _manifest(record)
    name = {"run": record.path.name, "state": manifest["state"]}
    if manifest["state"] != "done":
        return {**name, "summary": manifest["reason"]}
    loss = float(read_metrics(record.path)["loss"].iloc[-1])
    return {**name, "loss": loss, "summary": manifest["summary"], "verdict": manifest["verdict"]}
