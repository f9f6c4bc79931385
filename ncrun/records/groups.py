"""Compares runs: the configuration keys in which they differ, and groups that differ only in their seed."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ncrun.errors import UserError, nearest
from ncrun.records.places import check_place
from ncrun.records.read import Record, find_records
from ncrun.records.whole import STATES
from ncrun.trees import leaves

# Keys that do not change a run's numbers are not part of its identity. (Threads change the last bits, but a run may
# continue on another machine.)
WITHOUT_EFFECT = (
    "device",
    "threads",
    "compile",
    "cuda_graphs",
    "jobs",
    "together",
    "dry_run",
    "stream",
    "stream_cache",
    "stream_workers",
    "progress",
    "snapshots",
    "logger",
    "data_dir",
    "run_dir",
    "name",
)
# Besides these: the seed, because several seeds make one group, and measure.
NOT_COMPARED = (*WITHOUT_EFFECT, "seed", "measure")
GROUPS = ("dataset", "model", "optimizer")
# Keys that were added later, with their values in earlier runs, which then equal newer runs with the default.
LATER: dict[str, Any] = {
    "label_smoothing": 0.0,
    "class_weights": None,
    "logit_adjustment": 0.0,
    "decay.bias": 0.0,
    "freeze_norm": None,
    "finish": None,
    "finish_iterations": None,
}
# Groups without a name, which differ only by their members.
OPENED = ("head", "decay", "schedule")
# The keys that describe a run best come first; the others follow in the order of the configuration.
NAMING = (
    "experiment",
    "dataset.name",
    "model.name",
    "loss",
    "class_weights",
    "label_smoothing",
    "logit_adjustment",
    "head.depth",
    "head.bias",
    "imbalance",
    "counts",
    "optimizer.name",
    "model.width",
    "model.depth",
    "decay.weight",
    "decay.feature",
    "decay.bias",
)


def gather(folders: Iterable[Path], states: Sequence[str] = STATES) -> list[Record]:
    """Every run in these folders and archives and below, in order and each once. Raises UserError if there is none."""
    found: dict[Path, Record] = {}
    for folder in folders:
        check_place(folder)
        here = find_records(folder, states)
        if not here:
            which = "finished run" if tuple(states) == ("done",) else "run"
            raise UserError(f"{folder}: holds no {which}")
        for record in here:
            found.setdefault(record.path.resolve(), record)
    if not found:
        raise UserError("no run is given; give run directories, or folders with run directories in them")
    return list(found.values())


class Sealed(Protocol):
    """A run with its changed files."""

    @property
    def path(self) -> Path: ...

    @property
    def broken(self) -> tuple[str, ...] | None: ...


def seal_warning(records: Sequence[Sealed]) -> str | None:
    """A warning about files that changed after their runs finished; None if there are none."""
    changed = [record for record in records if record.broken]
    if not changed:
        return None
    first, more = changed[0], f", and files of {len(changed) - 1} other runs, too" if len(changed) > 1 else ""
    return (
        f"{first.path}: {', '.join(first.broken or ())} changed since the run was finished{more}; `ncrun verify` lists"
        " all"
    )


def settings_of(record: Record) -> dict[str, Any]:
    """The configuration by dotted keys, such as head.depth."""
    found = dict(dotted(record.config))
    return found | {key: value for key, value in LATER.items() if key not in found}


def dotted(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """By dotted keys; an empty group counts as its name."""
    for key, value in leaves(config):
        yield (f"{key}.name" if key in GROUPS else key), value


def key_of(word: str, option: str, records: Sequence[Record]) -> str:
    """The dotted configuration key that a user means; `model` is model.name. Raises UserError if these runs have no
    such key."""
    return known_key(word, option, map(settings_of, records))


def known_key(word: str, option: str, settings: Iterable[Mapping[str, Any]]) -> str:
    """The same for configurations by dotted keys."""
    key, found = f"{word}.name" if word in GROUPS else word, list(settings)
    known = sorted({known for each in found for known in each})
    if key not in known:
        usual = ", ".join(differing(found))
        choices = f"; the keys in which they differ are {usual}" if usual else "; they differ in no key"
        raise UserError(f"{option}={word}: no such configuration key in these runs{nearest(word, known) or choices}")
    return key


def unknown_metric(option: str, name: str, known: Sequence[str]) -> UserError:
    """The error for a metric that no run has."""
    shown = dict.fromkeys(re.sub(r"^head\.\d+\.", "head.m.", key) for key in known)
    return UserError(f"{option}={name}: no such metric{nearest(name, known)}; the metrics are {', '.join(shown)}")


def differing_keys(records: Sequence[Record]) -> list[str]:
    """Keys other than the seed with different values, the most descriptive first. A key that some runs lack is compared
    among those that have it."""
    return differing(map(settings_of, records))


def differing(settings: Iterable[Mapping[str, Any]]) -> list[str]:
    """The same for configurations by dotted keys."""
    values: dict[str, set[Any]] = {}
    for each in settings:
        for key, value in each.items():
            values.setdefault(key, set()).add(_hashable(value))
    found = [key for key, seen in values.items() if len(seen) > 1 and key not in NOT_COMPARED]
    return sorted(found, key=lambda key: NAMING.index(key) if key in NAMING else len(NAMING))


def naming_keys(records: Sequence[Record], given: Sequence[str] = ()) -> list[str]:
    """A small set of the differing keys that, with the `given` ones, distinguishes all configurations."""
    keys: list[str] = []
    for key in differing_keys(records):
        if len(split(records, [*given, *keys, key])) > len(split(records, [*given, *keys])):
            keys.append(key)
    return keys


def split(records: Sequence[Record], keys: Sequence[str]) -> dict[tuple[Any, ...], list[Record]]:
    """The records by their values of some keys (None if a run has no such key), in ascending order of the values; a
    list becomes a tuple."""
    parts: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        settings = settings_of(record)
        parts.setdefault(tuple(_hashable(settings.get(key)) for key in keys), []).append(record)
    return dict(sorted(parts.items(), key=lambda item: [rank(value) for value in item[0]]))


def ranks(record: Record, keys: Sequence[str]) -> tuple[tuple[int, float, str], ...]:
    """The sort key of records: their values of some keys."""
    settings = settings_of(record)
    return tuple(rank(_hashable(settings.get(key))) for key in keys)


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def rank(value: Any) -> tuple[int, float, str]:
    """The sort key of any value: None first, then numbers, then strings."""
    if value is None:
        return 0, 0.0, ""
    return (1, float(value), "") if isinstance(value, int | float) else (2, 0.0, str(value))


def words(value: Any) -> str:
    """A configuration value as an override writes it."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(words, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
