"""A user's own Python file: executed because the user names it, never because a record does, and identified by its
content."""

import hashlib
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from ncrun.errors import UserError

# Prefix of the names of such modules in sys.modules.
PREFIX = "ncrun_own_"


@dataclass(frozen=True)
class OwnFile:
    """said: how the user named it, such as extend=my_lab.py; messages begin with it."""

    path: Path
    source: bytes
    said: str

    @property
    def digest(self) -> str:
        """SHA-256 of the content."""
        return hashlib.sha256(self.source).hexdigest()


def read(name: str, said: str) -> OwnFile:
    """The file of this name, not executed yet. Raises UserError if it is missing or cannot be read."""
    path = Path(name).expanduser().absolute()
    if path.suffix != ".py" or not path.is_file():
        raise UserError(f"{said}: no such Python file (.py)")
    try:
        return OwnFile(path, path.read_bytes(), said)
    except OSError as error:
        raise UserError(f"{said}: cannot be read ({error.strerror})") from error


def execute(file: OwnFile) -> ModuleType:
    """The file as a module. Raises UserError if it is not valid Python or raises an error."""
    try:
        code = compile(file.source, str(file.path), "exec")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise UserError(f"{file.said}: cannot be read as Python ({(error.args or ('too large',))[0]}{line})") from error
    name = f"{PREFIX}{file.path.stem}_{file.digest[:8]}"
    specification = importlib.util.spec_from_file_location(name, file.path)
    assert specification is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module  # dataclasses look up their module
    try:
        exec(code, module.__dict__)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise UserError(f"{file.said}: raised {told(error, file.path)}") from error
    return module


def told(error: BaseException, path: Path | None = None) -> str:
    """One line with type and message of an error in a user's code, and the last line of the user's file before it.

    path: that file; default: the code is a library's.
    """
    message = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    lines = []
    frame = error.__traceback__
    while frame is not None:
        if path is not None and frame.tb_frame.f_code.co_filename == str(path):
            lines.append(frame.tb_lineno)
        frame = frame.tb_next
    where = f" ({path.name}, line {lines[-1]})" if path is not None and lines else ""
    return type(error).__name__ + (f": {message}" if message else "") + where
