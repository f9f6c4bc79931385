"""A logger's note in the run directory: by which name it knows the run, so that a later process goes on with it."""

import json
from pathlib import Path
from typing import Any

from ncrun.records.files import write_json


def read(path: Path) -> dict[str, Any]:
    """What a note says; nothing if there is none, or if it is damaged."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write(path: Path, note: dict[str, Any]) -> None:
    """Raises OSError."""
    write_json(path, note)
