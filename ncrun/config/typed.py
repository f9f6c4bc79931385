"""The keys given by the user, each of which must have an effect."""

from collections.abc import Iterable
from typing import Any

from ncrun.errors import UserError


def is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


class Typed:
    """The keys given by the user; a key without effect is refused."""

    def __init__(self, overrides: Iterable[str]) -> None:
        self.keys = {override.lstrip("+~").split("=", 1)[0] for override in overrides}

    def __contains__(self, key: str) -> bool:
        return key in self.keys

    def refuse(self, key: str, reason: str) -> None:
        """Raises UserError if the key is given."""
        if key in self.keys:
            raise UserError(f"{key}: has no effect: {reason}")
