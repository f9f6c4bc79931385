"""The spec of a user's own network. Torch-free."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from ncrun.checks import choice
from ncrun.errors import UserError
from ncrun.models.own.path import ModulePath
from ncrun.models.spec import ModelSpec

if TYPE_CHECKING:
    from torch import nn

SIGNS = ("free", "nonnegative")


@dataclass(frozen=True)
class Module(ModelSpec):
    """Your own network: a class in a file, or a model of torchvision or timm by its name (docs/your_network.md).

    path: FILE.py:CLASS, torchvision:NAME or timm:NAME.
    args: arguments of its constructor, such as model.args.depth=4.
    head: the name of its own last linear layer, or a list of consecutive ones, to use as the head; null: its output is
    the features, and ncrun's head reads them.
    width: the features' dimension; null: found by running the network.
    feature_sign: free, nonnegative, or auto (from its last layer, else from its features).
    """

    name: str = "module"
    path: str | None = None
    args: dict[str, Any] = field(default_factory=dict)
    head: Any = None
    width: int | None = None
    feature_sign: str = "auto"

    words: ClassVar[str] = "own network"

    @property
    def title(self) -> str:
        return self.where.name

    @property
    def feature_width(self) -> int:
        assert self.width is not None, "ncrun.config.own_network fills in the width"
        return self.width

    @cached_property
    def where(self) -> ModulePath:
        """The parts of the path. Raises UserError if it names no network."""
        return ModulePath.of(self.path)

    @property
    def head_names(self) -> tuple[str, ...]:
        """Names of its own layers that are the head."""
        if self.head is None:
            return ()
        return (self.head,) if isinstance(self.head, str) else tuple(self.head)

    def check(self) -> None:
        assert self.where
        for key, value in self.args.items():
            if not _is_plain(value):
                raise UserError(
                    f"model.args.{key}={value}: must be a number, a word, true, false, null or a list of these"
                )
        names = [self.head] if isinstance(self.head, str) else self.head
        if names is not None and not (
            isinstance(names, list) and names and all(isinstance(n, str) and n for n in names)
        ):
            raise UserError(
                f"model.head={self.head}: must be the name of a linear layer, such as fc, or a list of names"
            )
        choice("model.feature_sign", self.feature_sign, [*SIGNS, "auto"])

    def parts(
        self, image_shape: tuple[int, int, int], num_classes: int
    ) -> "tuple[nn.Module, Sequence[nn.Linear] | None]":
        from ncrun.models.own.head import without_head
        from ncrun.models.own.source import construct

        network = construct(self.where, self.args, image_shape, num_classes, with_head=bool(self.head_names))
        return without_head(network, self.where, self.head_names, num_classes)


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if isinstance(value, float):
        return value - value == 0  # finite: the record is JSON
    return value is None or isinstance(value, bool | int | str)
