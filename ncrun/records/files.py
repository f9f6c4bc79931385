"""Files that are either the old ones or the new ones, never half of each."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any


def write_aside(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write to a temporary file, flush it to the disk, and rename it over `path`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file aside and rename it over `path`."""
    write_aside(path, lambda file: file.write(text.encode()))


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file aside and rename it over `path`. Raises ValueError for a number that JSON does not know."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
