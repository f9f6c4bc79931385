"""The runs of a report: a glance at each, and the records of those that can be read."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ncrun.errors import UserError
from ncrun.records.glance import Glance, Overview
from ncrun.records.places import one_place
from ncrun.records.read import Record, load_record

# Files whose change makes a run be read again.
WATCHED = ("manifest.json", "metrics.jsonl", "theory.json", "geometry.json")


@dataclass(frozen=True)
class Shown:
    """record: None for a run that is not begun or cannot be read; then the glance holds the reason. stamp: of the files
    when they were read."""

    glance: Glance
    record: Record | None
    stamp: str


class Reader:
    """Reads the runs below some folders, repeatedly. Unchanged runs are only checked for being alive."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._overview = Overview()
        self._known: dict[Path, Shown] = {}

    def look(self) -> list[Shown]:
        """Every run, in the order of the folders and of the paths below them, each once. Raises UserError for a missing
        folder or archive."""
        found = [self._shown(glance) for glance in self._overview.look(self._folders)]
        self._known = {each.glance.path: each for each in found}
        return found

    def _shown(self, glance: Glance) -> Shown:
        stamp, known = _stamp(glance.path), self._known.get(glance.path)  # before it is read
        if known is not None and known.stamp == stamp:
            return replace(known, glance=glance)
        if glance.claim is None:  # it is damaged, or its first files are not written yet
            return Shown(glance, None, stamp)
        try:
            with one_place(glance.path) as place:
                return Shown(glance, load_record(place), stamp)
        except UserError as error:
            words = str(error).removeprefix(f"{glance.path}/").removeprefix(f"{glance.path}: ")
            return Shown(replace(glance, state="damaged", words=words), None, stamp)


def gather(folders: Sequence[Path]) -> list[Shown]:
    """The runs in these folders and archives and below. Raises UserError if there is none."""
    found = Reader(folders).look()
    if not found:
        raise UserError(f"{', '.join(map(str, folders))}: holds no run")
    return found


def records_of(runs: Sequence[Shown]) -> list[tuple[Glance, Record]]:
    """Those that can be read."""
    return [(run.glance, run.record) for run in runs if run.record is not None]


def _stamp(path: Path) -> str:
    """A stamp that changes with a run's files; constant for a run in an archive."""
    parts = []
    for name in WATCHED:
        try:
            found = (path / name).stat()
            parts.append(f"{found.st_mtime_ns}.{found.st_size}")
        except OSError:
            parts.append("")
    return " ".join(parts)
