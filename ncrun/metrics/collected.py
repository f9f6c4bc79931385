"""Sums that may be missing: reading a sum that was not collected raises the reason, and never returns a wrong
number."""

from dataclasses import dataclass
from typing import Any


class NotCollected(Exception):
    """A metric needs a sum that was not collected. The message tells the user the reason."""


@dataclass(frozen=True)
class _Missing:
    reason: str


def missing(reason: str) -> Any:
    """The placeholder for a sum that was not collected."""
    return _Missing(reason)


class Collected:
    """A record of sums. Reading an entry that is `missing` raises NotCollected with the reason."""

    def __getattribute__(self, name: str) -> Any:
        value = object.__getattribute__(self, name)
        if isinstance(value, _Missing):
            raise NotCollected(value.reason)
        return value
