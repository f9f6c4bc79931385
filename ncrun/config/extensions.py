"""A user's own files (extend=[my_lab.py], or NCRUN_EXTEND): imported because the user names them, never because a
record does. They add to the registries. The files' content is part of a run's identity.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from ncrun import own_file
from ncrun.config.compose import parse
from ncrun.config.folders import add_folder
from ncrun.errors import UserError

VARIABLE = "NCRUN_EXTEND"
_loaded: dict[Path, str] = {}  # by file, the digest of the imported content


def extended(typed: Sequence[str]) -> list[str]:
    """Imports the files that `typed` names, and returns `typed`. Without extend= the files come from the environment
    variable (separated by os.pathsep); they are added to `typed`, so that config.yaml holds them, too. Raises
    UserError.
    """
    said = [each for each in typed if each.lstrip("+").split("=", 1)[0] == "extend"]
    if said:
        load(_listed(said))
        return list(typed)
    files = [file for file in os.environ.get(VARIABLE, "").split(os.pathsep) if file]
    load(files)
    names = ",".join(f"'{name}'" for name in files)
    return [f"extend=[{names}]", *typed] if files else list(typed)


def _listed(said: Sequence[str]) -> list[str]:
    """The files of the last extend=. Raises UserError if its value is not a list."""
    files = parse(said)[-1].value()
    if not isinstance(files, list):
        raise UserError(f"{said[-1].lstrip('+')}: must be a list of Python files, such as [my_lab.py]")
    return [str(file) for file in files]


def load(files: Sequence[str]) -> None:
    """Imports each file once in a process. Raises UserError for a file that is missing, is not valid Python, raises an
    error, or has changed since this process imported it."""
    for name in files:
        path = Path(name).expanduser().absolute()
        if path in _loaded:
            if path.is_file() and own_file.read(name, f"extend={name}").digest != _loaded[path]:
                raise UserError(f"extend={name}: has changed since it was imported; restart Python")
            continue
        file = own_file.read(name, f"extend={name}")
        own_file.execute(file)
        _loaded[path] = file.digest
        add_folder(path.parent)


def loaded() -> list[Path]:
    """The imported files, in order."""
    return list(_loaded)


def forget() -> None:
    """Forgets all imported files; for tests, which share a process."""
    _loaded.clear()


def digests(files: Sequence[str]) -> list[str]:
    """SHA-256 of each file's imported content."""
    return [_loaded[Path(name).expanduser().absolute()] for name in files]
