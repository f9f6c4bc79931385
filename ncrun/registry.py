"""A registry of one kind of entries (losses, models, ...): the built-in ones, and those of a user's own file."""

from collections.abc import Iterable, Iterator
from typing import Generic, Protocol, TypeVar

from ncrun.errors import UserError, nearest


class Entry(Protocol):
    """Anything with a name that users give."""

    @property
    def key(self) -> str: ...


T = TypeVar("T", bound=Entry)


class Registry(Generic[T]):
    """Entries by their key, in the order in which they were added.

    what: the configuration key, or the word, by which users choose an entry.
    """

    def __init__(self, what: str, entries: Iterable[T]) -> None:
        self.what = what
        self._entries: dict[str, T] = {}
        for entry in entries:
            self.add(entry)
        self._built_in = tuple(self._entries)

    def add(self, entry: T) -> T:
        """Raises UserError if the key is taken."""
        if entry.key in self._entries:
            raise UserError(f"{self.what}={entry.key}: exists already; give yours another key")
        self._entries[entry.key] = entry
        return entry

    def __getitem__(self, key: str) -> T:
        """Raises UserError, with the choices, for an unknown key."""
        if key not in self._entries:
            raise UserError(
                f"{self.what}={key}: not one of {', '.join(self._entries)}{nearest(str(key), self._entries)}"
            )
        return self._entries[key]

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[T]:
        return iter(self._entries.values())

    def keys(self) -> list[str]:
        return list(self._entries)

    def forget_added(self) -> None:
        """Removes everything that is not built in; for tests, which share a process."""
        for key in set(self._entries) - set(self._built_in):
            del self._entries[key]
