"""Small JSON files in the user's cache folder: what took long to find is found again by later processes."""

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path


def cache_file(kind: str, name: str) -> Path:
    """Where something of a kind is kept. name: of the file, without its suffix."""
    return user_cache_path("ncrun") / kind / f"{name}.json"


def write(file: Path, content: dict[str, Any]) -> None:
    """Aside and renamed: others may read it, or write it, at this moment. JSON has all digits of a float. Where nothing
    can be written, what it is about is found anew the next time."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        number, aside = tempfile.mkstemp(dir=file.parent)
        try:
            with os.fdopen(number, "w") as opened:
                json.dump(content, opened)
            os.replace(aside, file)
        except OSError:
            os.unlink(aside)
            raise
