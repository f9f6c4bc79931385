"""Sums of which one may be missing: reading one that nobody collected says why, instead of giving a wrong number."""

from dataclasses import dataclass
from typing import Any


class NotCollected(Exception):
    """A metric asked for a sum that was not collected. Its message is the reason, for the user."""


@dataclass(frozen=True)
class _Missing:
    reason: str


def missing(reason: str) -> Any:
    """What stands in the place of a sum that was not collected."""
    return _Missing(reason)


class Collected:
    """A record of sums. Reading an entry that is `missing` raises NotCollected with the reason."""

    def __getattribute__(self, name: str) -> Any:
        value = object.__getattribute__(self, name)
        if isinstance(value, _Missing):
            raise NotCollected(value.reason)
        return value
