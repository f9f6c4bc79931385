"""The seal of a finished run: checksums of its files in manifest.json, which detect any change."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from ncrun.records import snapshots

# The sealed files besides manifest.json itself. curves.png is drawn later, from these.
FILES = (
    "config.yaml",
    "problem.json",
    "theory.json",
    "geometry.json",
    "metrics.jsonl",
    snapshots.NAME,
    "checkpoint.pt",
)
# Files that may be missing, because no number depends on them: they are large, and archives may omit them.
DISPENSABLE = (snapshots.NAME, "checkpoint.pt")


def made_of(manifest: Mapping[str, Any], digests: Mapping[str, str]) -> dict[str, Any]:
    """The entry `seal` of a manifest. digests: SHA-256 of the run's other files, in hexadecimal."""
    return {"files": dict(digests), "sha256": _digest(manifest, digests)}


def broken(manifest: Mapping[str, Any], digest_of: Callable[[str], str | None]) -> tuple[str, ...] | None:
    """The names of changed files; None if there is no seal. digest_of: SHA-256 of a file of the run, None if there is
    none; its exceptions are passed on."""
    if "seal" not in manifest:
        return None
    seal = manifest["seal"]
    if not (isinstance(seal, dict) and isinstance(seal.get("files"), dict)):
        return ("manifest.json",)
    try:
        fits = seal.get("sha256") == _digest(manifest, seal["files"])
    except RecursionError:  # no run has such deep nesting
        fits = False
    if not fits:
        return ("manifest.json",)  # then its checksums of the other files cannot be trusted either
    return tuple(name for name in FILES if not _fits(digest_of(name), seal["files"].get(name), name))


def broken_beside(manifest: Mapping[str, Any], digest_of: Callable[[str], str | None]) -> tuple[str, ...] | None:
    """The same, without the large files that may be missing."""
    return broken(manifest, lambda name: None if name in DISPENSABLE else digest_of(name))


def _fits(found: str | None, sealed: str | None, name: str) -> bool:
    return found == sealed or (found is None and name in DISPENSABLE)


def _digest(manifest: Mapping[str, Any], files: Mapping[str, Any]) -> str:
    """Digest of all entries, independent of order and white space, and of the files' checksums."""
    whole = {**manifest, "seal": dict(files)}
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()
