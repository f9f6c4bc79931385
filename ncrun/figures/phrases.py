"""Phrases about several runs: the values of each, in a list."""

from collections.abc import Callable, Iterable, Sequence

from ncrun.records.read import Record


def any_of(things: Iterable[object]) -> str:
    """a, b or c"""
    *first, last = map(str, things)
    return f"{', '.join(first)} or {last}" if first else last


def each(records: Sequence[Record], words: Callable[[Record], str]) -> str:
    """The different words of the records."""
    return any_of(dict.fromkeys(map(words, records)))


def seed_words(seeds: Iterable[int]) -> str:
    """seed 0, seeds 0 and 1, seeds 0 to 2"""
    found = sorted(set(seeds))
    if len(found) == 1:
        return f"seed {found[0]}"
    if found[-1] - found[0] == len(found) - 1:
        return f"seeds {found[0]} to {found[-1]}" if len(found) > 2 else f"seeds {found[0]} and {found[1]}"
    return f"seeds {', '.join(map(str, found))}"
