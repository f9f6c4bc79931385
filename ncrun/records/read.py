"""Reading run directories back: plain JSON, and the metrics as a data frame."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def read_manifest(directory: Path) -> dict[str, Any] | None:
    """manifest.json, or None if there is none."""
    return _read_json(directory / "manifest.json")


def read_theory(directory: Path) -> dict[str, Any] | None:
    """theory.json, or None if there is none."""
    return _read_json(directory / "theory.json")


def read_metrics(directory: Path) -> "pd.DataFrame":
    """metrics.jsonl, one row per measured epoch. A torn last line, of a run that is being written, is left out."""
    import pandas as pd

    path = directory / "metrics.jsonl"
    text = path.read_text() if path.is_file() else ""
    whole = text[: text.rfind("\n") + 1]
    return pd.DataFrame([json.loads(line) for line in whole.splitlines()])


def _read_json(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.is_file() else None
