"""A user's own files (extend=[my_lab.py], or NCRUN_EXTEND): imported because the user says so, never because a record
names them. They add to the registries, and what they add is part of a run's identity by the files' content.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from ncrun import own_file
from ncrun.config.compose import parse
from ncrun.config.folders import add_folder
from ncrun.errors import UserError

VARIABLE = "NCRUN_EXTEND"
_loaded: dict[Path, str] = {}  # by file, the digest of what was imported


def extended(typed: Sequence[str]) -> list[str]:
    """What is typed, after the files that it names are imported. Without extend= they are those of the environment
    variable (separated by os.pathsep), which are put before it, so that config.yaml says them, too. Raises UserError.
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
    """The files of the last of several extend=. Raises UserError for a value that is no list."""
    files = parse(said)[-1].value()
    if not isinstance(files, list):
        raise UserError(f"{said[-1].lstrip('+')}: must be a list of files of Python code, such as [my_lab.py]")
    return [str(file) for file in files]


def load(files: Sequence[str]) -> None:
    """Import each file, once in a process. Raises UserError for one that is not there, that Python cannot read, that
    ends in an error, or that has changed since this process imported it."""
    for name in files:
        path = Path(name).expanduser().absolute()
        if path in _loaded:
            if path.is_file() and own_file.read(name, f"extend={name}").digest != _loaded[path]:
                raise UserError(f"extend={name}: has changed since it was imported; start Python anew")
            continue
        file = own_file.read(name, f"extend={name}")
        own_file.execute(file)
        _loaded[path] = file.digest
        add_folder(path.parent)


def loaded() -> list[Path]:
    """The files that were imported, in their order."""
    return list(_loaded)


def forget() -> None:
    """As if nothing had been imported; for tests, whose processes live on."""
    _loaded.clear()


def digests(files: Sequence[str]) -> list[str]:
    """SHA-256 of what was imported from each file."""
    return [_loaded[Path(name).expanduser().absolute()] for name in files]
