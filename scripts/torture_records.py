"""Compares the record of a training with the undisturbed one; for torture.py."""

import io
import json
import math
from pathlib import Path
from typing import Any

import torch
from torture_processes import Deviation

from ncrun.errors import UserError
from ncrun.records import seal
from ncrun.records.files import read_sealed
from ncrun.records.places import Folder
from ncrun.records.read import read_manifest, read_metrics

# Entries of a manifest about time and code, which may differ.
OF_THE_SITTING = (
    *("started", "finished", "wall_seconds", "measuring_share", "environment_changes", "code", "seal"),
    *("host", "slurm"),
)


def members(directory: Path) -> list[Path]:
    """The run itself, or the runs in the folder."""
    return sorted(directory.glob("seed-*")) or [directory]


def state_of(run: Path) -> str | None:
    """The content of its manifest; None if there is none yet."""
    manifest = read_manifest(run)
    return None if manifest is None else str(manifest["state"])


def rows(directory: Path) -> list[dict[str, Any]]:
    """The complete lines of metrics.jsonl, without wall times."""
    content = (directory / "metrics.jsonl").read_bytes()
    lines = [json.loads(line) for line in content[: content.rfind(b"\n") + 1].splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def final_state(directory: Path) -> dict[str, Any]:
    """The last checkpoint without wall times and checksums."""
    state: dict[str, Any] = torch.load(io.BytesIO(read_sealed(directory / "checkpoint.pt")), weights_only=True)
    progress = {key: value for key, value in state["progress"].items() if "seconds" not in key}
    return {**{key: state[key] for key in ("network", "optimiser", "generator", "random")}, "progress": progress}


def same(a: Any, b: Any) -> bool:
    """Equality of nested containers of tensors, to the bit."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def compare(directory: Path, straight: Path, exact: bool = True) -> None:
    """Raises Deviation unless all files of finished or diverged runs equal those of the undisturbed ones. exact: to the
    bit; else rows to 1e-6, for runs that could not continue together."""
    for ours, theirs in zip(members(directory), members(straight), strict=True):
        if exact and rows(ours) != rows(theirs):
            raise Deviation("other metrics than the undisturbed run")
        if not close(rows(ours), rows(theirs)):
            raise Deviation("far from the undisturbed run's metrics")
        if not exact:
            continue
        manifest = read_manifest(ours) or {}
        if manifest.get("state") == "done" and seal.broken(manifest, Folder(ours).sha256) != ():
            raise Deviation("a seal that does not fit")
        if _manifest(ours, directory, straight) != _manifest(theirs, straight, straight):
            raise Deviation("another manifest than the undisturbed run")
        if not same(final_state(ours), final_state(theirs)):
            raise Deviation("another final state than the undisturbed run")
        for name in ("geometry.json", "problem.json", "theory.json", "config.yaml"):
            if _text(ours / name, directory, straight) != _text(theirs / name, straight, straight):
                raise Deviation(f"another {name} than the undisturbed run")
        snapshots = [run / "snapshots.npz" for run in (ours, theirs)]
        if manifest.get("state") == "done" and len({file.is_file() and file.read_bytes() for file in snapshots}) > 1:
            raise Deviation("other snapshots than the undisturbed run")
    if exact and _manifest(directory, directory, straight, "summary.json") != _manifest(
        straight, straight, straight, "summary.json"
    ):
        raise Deviation("another summary.json than the undisturbed run")


def close(a: Any, b: Any) -> bool:
    """Equality of nested containers, of numbers to 1e-6 of each or of 1e-3."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(close(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(close(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9)
    return bool(a == b)


def _manifest(run: Path, directory: Path, straight: Path, name: str = "manifest.json") -> Any:
    """A file as text, without entries that depend on the process or the folder; None if there is none."""
    manifest = read_manifest(run, name)
    if manifest is None:
        return None
    kept = {key: value for key, value in manifest.items() if key not in OF_THE_SITTING}
    if "seed-" in str(run):  # its name, which is hashed, may contain that of the folder
        kept.pop("identity")
    return json.dumps(kept, sort_keys=True).replace(str(directory), str(straight))


def _text(file: Path, directory: Path, straight: Path) -> str | None:
    """The content as it would be in the undisturbed run's folder."""
    return file.read_text().replace(str(directory), str(straight)) if file.is_file() else None


def check_remains(directory: Path, straight: Path) -> None:
    """Raises Deviation unless the record after a fault is readable and its rows are the first of the undisturbed
    run."""
    for theirs in members(straight):
        ours = directory if theirs == straight else directory / theirs.name
        try:
            read_manifest(ours)
            read_metrics(ours)
        except UserError as error:
            raise Deviation(f"unreadable: {error}") from error
        if (ours / "metrics.jsonl").is_file():
            found = rows(ours)
            if found != rows(theirs)[: len(found)]:
                raise Deviation("rows that the undisturbed run does not have")
