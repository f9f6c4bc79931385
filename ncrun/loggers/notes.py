"""A logger's note in the run directory: the logger's name for the run, by which a later process continues it."""

import json
from pathlib import Path
from typing import Any

from ncrun.records.files import write_json


def read(path: Path) -> dict[str, Any]:
    """The content of a note; empty if there is none or it is damaged."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write(path: Path, note: dict[str, Any]) -> None:
    """Raises OSError."""
    write_json(path, note)
