"""The parts of model.path, which names a user's network. Torch-free; nothing is executed."""

import ast
from dataclasses import dataclass

from ncrun import own_file
from ncrun.errors import UserError
from ncrun.own_file import OwnFile

LIBRARIES = ("torchvision", "timm")
FORMS = "nets.py:TinyViT, torchvision:resnet18 or timm:vit_tiny_patch16_224"


@dataclass(frozen=True)
class ModulePath:
    """library: torchvision or timm, or "" for a file. file: its name as given; "" for a library. name: of the class or
    the library's model."""

    library: str
    file: str
    name: str

    @classmethod
    def of(cls, path: str | None) -> "ModulePath":
        """Raises UserError for a path that names no network, with the classes in the file."""
        if not path:
            raise UserError(f"model.path={path or ''}: model=module needs a network, such as model.path={FORMS}")
        before, colon, name = path.rpartition(":")
        library = path.partition(":")[0]
        if library in LIBRARIES:
            name = path.removeprefix(f"{library}:")
            if not colon or not name:
                raise UserError(
                    f"model.path={path}: names no model of {library}, such as model.path={library}:resnet18"
                )
            return cls(library, "", name)
        if colon and before.endswith(".py") and name:
            return cls("", before, name)
        if path.removesuffix(":").endswith(".py"):
            file = path.removesuffix(":")
            names = ", ".join(f"{file}:{each}" for each in _defined(own_file.read(file, f"model.path={path}")))
            raise UserError(f"model.path={path}: names no class; the file has {names or 'none'}")
        raise UserError(f"model.path={path}: names no network; it can be {FORMS}")

    @property
    def said(self) -> str:
        """The key as the user gave it, for the beginning of messages."""
        return f"model.path={f'{self.library or self.file}:{self.name}'}"

    def read(self) -> OwnFile:
        """The user's own file. Raises UserError if it is not there."""
        assert self.file
        return own_file.read(self.file, self.said)


def _defined(file: OwnFile) -> list[str]:
    """The classes of a file, found without executing it; none if it is not Python."""
    try:
        tree = ast.parse(file.source)
    except (SyntaxError, ValueError):
        return []
    return [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
