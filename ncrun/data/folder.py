"""The folder of the data sets on this machine."""

import os
from pathlib import Path

from platformdirs import user_cache_path


def data_folder(given: str | None) -> Path:
    """The given folder (data_dir), else $NCRUN_DATA, else ncrun/data in the user's cache folder."""
    named = given if given is not None else os.environ.get("NCRUN_DATA")
    return Path(named).expanduser() if named else user_cache_path("ncrun") / "data"
