"""What a user typed, of which nothing may be without effect."""

from collections.abc import Iterable
from typing import Any

from ncrun.errors import UserError


def is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


class Typed:
    """The keys that a user typed, of which none may be without effect."""

    def __init__(self, overrides: Iterable[str]) -> None:
        self.keys = {override.lstrip("+~").split("=", 1)[0] for override in overrides}

    def __contains__(self, key: str) -> bool:
        return key in self.keys

    def refuse(self, key: str, reason: str) -> None:
        """Raises UserError if the key is typed."""
        if key in self.keys:
            raise UserError(f"{key}: has no effect: {reason}")
