"""What there is of one kind (losses, models, ...): named where it is built in, and added to by a user's own file."""

from collections.abc import Iterable, Iterator
from typing import Generic, Protocol, TypeVar

from ncrun.errors import UserError, nearest


class Entry(Protocol):
    """Whatever has a name that users type."""

    @property
    def key(self) -> str: ...


T = TypeVar("T", bound=Entry)


class Registry(Generic[T]):
    """Entries by their key, in the order in which they were named.

    what: the configuration key, or the word, by which users choose among them.
    """

    def __init__(self, what: str, entries: Iterable[T]) -> None:
        self.what = what
        self._entries: dict[str, T] = {}
        for entry in entries:
            self.add(entry)
        self._built_in = tuple(self._entries)

    def add(self, entry: T) -> T:
        """Raises UserError if the key is taken: two things of one name would be told apart by nobody."""
        if entry.key in self._entries:
            raise UserError(f"{self.what}={entry.key}: is there already; give yours another key")
        self._entries[entry.key] = entry
        return entry

    def __getitem__(self, key: str) -> T:
        """Raises UserError, with the choices, for a key that is not there."""
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
        """Only what is built in is left; for tests, whose processes live on."""
        for key in set(self._entries) - set(self._built_in):
            del self._entries[key]
