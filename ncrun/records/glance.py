"""A run at a glance: from its manifest, configuration and last measured row, and whether it is alive.

Nothing else is read, so that a thousand take about a second. `ncrun verify` checks the other files.
"""

import contextlib
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ncrun.errors import UserError
from ncrun.records import seal, whole
from ncrun.records.groups import dotted
from ncrun.records.lock import holder_of
from ncrun.records.places import LARGEST, Folder, Place, check_place, holders_below, is_archive, one_place, places_of
from ncrun.records.read import parse_row, read_config, read_manifest
from ncrun.records.summary import distance
from ncrun.theory.prediction import CLAIMS

# The states of a run, those that need the user first. "damaged": a file cannot be read or was not written by a run;
# "not begun": killed before its first files were written.
STATES = ("running", "interrupted", "failed", "damaged", "not begun", "done")
# Bytes of the last row that are read first; a row with lists for a hundred classes has more.
ROW = 1 << 14


@dataclass(frozen=True)
class Glance:
    """path: as `ncrun.load` takes it. state: one of STATES. words: how the run ended, why it did not, or what is wrong.
    claim: of its prediction. settings: the configuration by dotted keys. row: the last of metrics.jsonl. holder: `pid`
    and `host` of the process that trains it. Unknown values are empty.
    seen: the time of reading, in seconds since 1970; touched: the time of the last row. broken: as in Record, () if it
    was not checked."""

    path: Path
    state: str
    words: str = ""
    claim: str | None = None
    manifest: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    row: dict[str, Any] = field(default_factory=dict)
    holder: dict[str, Any] = field(default_factory=dict)
    seen: float = 0.0
    touched: float = 0.0
    broken: tuple[str, ...] | None = ()

    @property
    def host(self) -> str | None:
        """The host where it runs or ran last."""
        found = self.holder.get("host") or self.manifest.get("host")
        return found if isinstance(found, str) else None

    @property
    def slurm(self) -> str | None:
        """The Slurm job in which it runs or ran last, as in squeue: 17, or 17_3 in an array."""
        found = self.manifest.get("slurm")
        return found["job"] if isinstance(found, dict) and isinstance(found.get("job"), str) else None

    @property
    def epoch(self) -> int | None:
        """The last measured epoch."""
        return self.row.get("epoch")

    @property
    def epochs(self) -> int | None:
        """The number of epochs to train, including the most iterations of its finish; None if not known before: L-BFGS
        of free features ends when the gradient vanishes."""
        epochs: int | None = self.settings.get("epochs")
        if epochs is None or self.settings.get("optimizer.name") == "lbfgs":
            return None
        return epochs + int(self.settings.get("finish_iterations") or 0)

    @property
    def seconds(self) -> float | None:
        """Seconds of training and measuring until the last measured row."""
        found = self.manifest.get("wall_seconds") if self.state == "done" else None
        return self.row.get("seconds") if found is None else found

    @property
    def seconds_left(self) -> float | None:
        """Remaining seconds of a living run at its speed so far; None if not known."""
        if self.state != "running" or not self.epoch or self.epochs is None or self.seconds is None:
            return None
        since = max(0.0, self.seen - self.touched)
        return max(0.0, self.seconds * (self.epochs / self.epoch - 1) - since)

    @property
    def distance(self) -> float | None:
        """Distance to the predicted geometry: the largest of nc2_w, nc2_h, nc3."""
        return distance(self.row)

    @property
    def verdict(self) -> str | None:
        """For free features the verdict's word; for a network the part of its summary about lost classes."""
        if self.state != "done":
            return None
        judged = self.manifest.get("verdict")
        return str(judged["word"]) if judged is not None else self.words.rpartition("; ")[2] or None


class Overview:
    """Reads runs repeatedly. A run that has ended is read once, as long as its manifest does not change.

    sealed: also check whether files changed after their run finished, which reads all of them.
    """

    def __init__(self, sealed: bool = False) -> None:
        self._sealed = sealed
        self._parts: dict[bytes, Any] = {}
        self._ended: dict[Path, tuple[tuple[int, ...], Glance]] = {}

    def look(self, roots: Sequence[Path]) -> list[Glance]:
        """Every run in these folders and archives and below, in order and each once. Unreadable ones are damaged.
        Raises UserError for a path that is neither a folder nor an archive."""
        found: dict[Path, Glance] = {}
        for root in roots:
            check_place(root)
            for glance in self._below(root):
                found.setdefault(glance.path.resolve() if len(roots) > 1 else glance.path, glance)
        return list(found.values())

    def _below(self, root: Path) -> Iterator[Glance]:
        unreadable: list[OSError] = []
        for path in holders_below(root, unreadable.append):
            try:
                for place in places_of(path):
                    glance = self._again(place)
                    if glance is not None:
                        yield glance
            except UserError as error:  # an archive
                yield Glance(path, "damaged", _without(path, error))
        for folder in unreadable:
            yield Glance(Path(folder.filename), "damaged", f"cannot be read ({folder.strerror})")

    def _again(self, place: Place) -> Glance | None:
        stamp = _stamp(place)
        known = self._ended.get(place.path)
        if known is not None and known[0] == stamp:
            return known[1]
        glance = glance_at(place, self._parts, self._sealed)
        if glance is not None and glance.state == "done":
            self._ended[place.path] = (stamp, glance)
        return glance


def one_run(path: Path) -> Glance:
    """The run in a directory, or in an archive as ARCHIVE.zip/FOLDER. Raises UserError if there is none, or if it
    cannot be read."""
    with one_place(path) as place:
        found = glance_at(place)
    if found is None:
        raise UserError(f"{path}: is not a run directory")
    if found.state == "damaged":
        raise UserError(f"{path}: {found.words}")
    return found


def glance_at(place: Place, known: dict[bytes, Any] | None = None, sealed: bool = False) -> Glance | None:
    """The glance at a place's run; None if there is none (any more). known: as in read_config. sealed: as in
    Overview."""
    path = place.path
    try:
        manifest = read_manifest(place)
        if manifest is None or _is_strangers(manifest, place):
            return None
        claim = _claim(place)
        if claim is None:
            return _not_begun(place, manifest)
        config = read_config(place, known)
        whole.check_config(config, path / "config.yaml")
        whole.check_manifest(manifest, config, path / "manifest.json")
        row, touched = _last_row(place)
        broken = seal.broken_beside(manifest, place.sha256) if sealed else ()
        said = str(manifest.get("summary") or manifest.get("reason") or "")
        state, words, holder = _alive(place, str(manifest["state"]), said)
        if state != manifest["state"] and not holder and read_manifest(place) != manifest:
            return glance_at(place, known, sealed)  # it ended in between, and was not killed
    except UserError as error:
        return Glance(path, "damaged", _without(path, error))
    except OSError as error:
        return Glance(path, "damaged", f"cannot be read ({error.strerror})")
    return Glance(path, state, words, claim, manifest, dict(dotted(config)), row, holder, time.time(), touched, broken)


def _alive(place: Place, state: str, words: str) -> tuple[str, str, dict[str, Any]]:
    """The state from the manifest and the lock: a killed process wrote no state, and a process that continues a run has
    not written it yet."""
    holder = None
    if isinstance(place, Folder) and state != "done":
        try:
            holder = holder_of(place.path)
        except OSError as error:
            return state, f"its lock cannot be read ({error.strerror})", {}
    if holder is not None:
        return "running", "", holder
    if state == "running":
        return "interrupted", "was killed; the same command continues it", {}
    return state, words, {}


def _is_strangers(manifest: dict[str, Any], place: Place) -> bool:
    """Whether it is a run's; other programs write a manifest.json, too."""
    return "state" not in manifest and "identity" not in manifest and place.part("config.yaml", 1) is None


def _claim(place: Place) -> str | None:
    """The claim, at the beginning of theory.json, which may hold megabytes of matrices. None if it is not written
    yet."""
    begin = place.part("theory.json", 100)
    if begin is None:
        return None
    found = re.match(rb'\s*\{\s*"claim":\s*"(\w+)"', begin)
    claim = found[1].decode() if found else (read_manifest(place, "theory.json") or {}).get("claim")
    if claim not in CLAIMS:
        raise UserError("theory.json: is not what a run writes: claim is missing, or has another type")
    return str(claim)


def _not_begun(place: Place, manifest: dict[str, Any]) -> Glance:
    state, _, holder = _alive(place, "running", "")
    if state == "running":
        return Glance(place.path, state, manifest=manifest, holder=holder)
    return Glance(place.path, "not begun", "has no theory.json yet; the same command starts it")


def _last_row(place: Place) -> tuple[dict[str, Any], float]:
    """The last complete line of metrics.jsonl, and its time; empty if no epoch is measured."""
    size = ROW
    while True:
        tail = place.part("metrics.jsonl", -size)
        *lines, _ = (tail or b"").split(b"\n")  # an incomplete last line, of a running run, is skipped
        if len(lines) > 1 or tail is None or len(tail) < size:
            break
        if size > LARGEST:
            raise UserError("metrics.jsonl: is not what a run writes: its last line is too long")
        size *= 8
    if not lines:
        return {}, 0.0
    path, touched = place.path / "metrics.jsonl", 0.0
    with contextlib.suppress(OSError):  # in an archive, or just removed
        touched = path.stat().st_mtime
    return parse_row(lines[-1], f"{path}, last line"), touched


def _stamp(place: Place) -> tuple[int, ...]:
    """Changes whenever a manifest is written; in an archive, whenever the archive changes."""
    path = place.path / "manifest.json"
    archive = next((each for each in path.parents if is_archive(each)), None) if not isinstance(place, Folder) else None
    try:
        found = (archive or path).stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino


def _without(path: Path, error: UserError) -> str:
    """An error's message without the folder at its beginning."""
    return str(error).removeprefix(f"{path}/").removeprefix(f"{path}: ")
