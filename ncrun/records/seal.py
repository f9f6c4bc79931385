"""The seal of a finished run: the checksums of its files, kept in manifest.json, so that a changed digit is noticed."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from ncrun.records import snapshots

# What is sealed besides manifest.json itself. curves.png is drawn afterwards, from these.
FILES = (
    "config.yaml",
    "problem.json",
    "theory.json",
    "geometry.json",
    "metrics.jsonl",
    snapshots.NAME,
    "checkpoint.pt",
)
# What may be gone without any number being in doubt: it is large, and archives need not hold it.
DISPENSABLE = (snapshots.NAME, "checkpoint.pt")


def made_of(manifest: Mapping[str, Any], digests: Mapping[str, str]) -> dict[str, Any]:
    """The entry `seal` of a manifest. digests: SHA-256 of the run's other files, in hexadecimal."""
    return {"files": dict(digests), "sha256": _digest(manifest, digests)}


def broken(manifest: Mapping[str, Any], digest_of: Callable[[str], str | None]) -> tuple[str, ...] | None:
    """The names of files that are not as they were sealed; None where there is no seal. digest_of: SHA-256 of a file of
    the run, None if there is none; what it raises is raised."""
    if "seal" not in manifest:
        return None
    seal = manifest["seal"]
    if not (isinstance(seal, dict) and isinstance(seal.get("files"), dict)):
        return ("manifest.json",)
    try:
        fits = seal.get("sha256") == _digest(manifest, seal["files"])
    except RecursionError:  # no run nests so deeply
        fits = False
    if not fits:
        return ("manifest.json",)  # whose checksums of the other files are then not to be trusted either
    return tuple(name for name in FILES if not _fits(digest_of(name), seal["files"].get(name), name))


def broken_beside(manifest: Mapping[str, Any], digest_of: Callable[[str], str | None]) -> tuple[str, ...] | None:
    """The same without looking at what is dispensable and large."""
    return broken(manifest, lambda name: None if name in DISPENSABLE else digest_of(name))


def _fits(found: str | None, sealed: str | None, name: str) -> bool:
    return found == sealed or (found is None and name in DISPENSABLE)


def _digest(manifest: Mapping[str, Any], files: Mapping[str, Any]) -> str:
    """Of all entries, whatever their order and the space between them, and the files' checksums."""
    whole = {**manifest, "seal": dict(files)}
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()
