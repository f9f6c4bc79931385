"""Which runs a report shows: all that can be read, and by name those that cannot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ncrun.errors import UserError
from ncrun.records.places import Place, is_archive, runs_below
from ncrun.records.read import Record, load_record


@dataclass(frozen=True)
class Gathered:
    """records: in the order of the folders and of the paths below them, each once. unread: what is wrong with runs that
    cannot be shown, by their path."""

    records: tuple[Record, ...]
    unread: dict[Path, str]


def gather(folders: Sequence[Path], known: Mapping[Path, Record] | None = None) -> Gathered:
    """Every run in these folders and archives and below. known: records that have not changed since they were read, by
    their resolved paths. Raises UserError for a folder or archive that is not there."""
    records: dict[Path, Record] = {}
    unread: dict[Path, str] = {}
    for folder in folders:
        if not folder.is_dir() and not is_archive(folder):
            raise UserError(f"{folder}: no such folder, nor a .zip archive")
        for place in runs_below(folder):
            path = place.path.resolve()
            if path not in records and path not in unread:
                found = (known or {}).get(path) or _read(place)
                if isinstance(found, str):
                    unread[path] = found
                else:
                    records[path] = found
    return Gathered(tuple(records.values()), unread)


def refuse_no_run(folders: Sequence[Path], gathered: Gathered) -> None:
    """Raises UserError if nothing was found."""
    if not gathered.records and not gathered.unread:
        raise UserError(f"{', '.join(map(str, folders))}: holds no run")


def _read(place: Place) -> Record | str:
    """The record, or what is wrong with it."""
    try:
        if place.read("theory.json") is None:
            return "is not begun: its first files are not written yet"
        return load_record(place)
    except UserError as error:
        return str(error).removeprefix(f"{place.path}/").removeprefix(f"{place.path}: ")
