"""The snapshots of a recorded run, checked."""

import hashlib

from ncrun.errors import UserError
from ncrun.records.files import DamagedFile
from ncrun.records.places import one_place
from ncrun.records.read import Record
from ncrun.records.snapshots import NAME, Snapshots, parsed


def snapshots_of(record: Record) -> Snapshots:
    """snapshots.npz. Raises UserError if the run has none, or if they were changed."""
    found = kept_snapshots(record)
    if found is None:
        raise UserError(
            f"{record.path}: has no snapshots ({NAME}), which this drawing needs: it was trained by an older version,"
            " with snapshots=false or along a path; ncrun rerun RUN run_dir=FOLDER trains it again with snapshots"
        )
    return found


def kept_snapshots(record: Record) -> Snapshots | None:
    """None if the run has none. Raises UserError if they were changed."""
    with one_place(record.path) as place:
        content = place.read(NAME)
    if content is None:
        return None
    seal = record.manifest.get("seal")  # of any kind, if it was changed
    files = seal.get("files") if isinstance(seal, dict) else None
    sealed = files.get(NAME) if isinstance(files, dict) else None
    if sealed is not None and sealed != hashlib.sha256(content).hexdigest():
        raise UserError(f"{record.path}: {NAME} changed since the run finished")
    try:
        found = parsed(content)
    except DamagedFile as error:
        raise UserError(f"{record.path / NAME}: is not what a run writes: {error}") from error
    if found.classes.max() >= len(record.manifest["class_counts"]):
        raise UserError(f"{record.path / NAME}: is not what a run writes: it has classes that the run does not have")
    return found
