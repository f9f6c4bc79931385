"""What a logger is: its name, and what it does with a run."""

import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ncrun.errors import UserError
from ncrun.records.whole import OF_CLASSES

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Logged:
    """A run as a logger gets to know it.

    path: its directory. config: every key with its value, as config.yaml holds them; settings: the same by dotted keys.
    theory: theory.json. counts: samples of each class. predicted: by column of metrics.jsonl, the number that theory
    predicts; predicted_classes: by column that is a list, one for each class, None where there is none.
    """

    path: Path
    config: Mapping[str, Any]
    settings: Mapping[str, Any]
    theory: Mapping[str, Any]
    counts: Sequence[int]
    predicted: Mapping[str, float] = field(default_factory=dict)
    predicted_classes: Mapping[str, Sequence[float | None]] = field(default_factory=dict)

    def scalars(self, row: Row) -> dict[str, float]:
        """The numbers of a row by their columns, and the predictions beside them as predicted/COLUMN, the same at every
        epoch. What is null, or a list, is left out."""
        found = {key: float(value) for key, value in row.items() if isinstance(value, int | float)}
        return found | {f"predicted/{key}": value for key, value in self.predicted.items() if key in found}

    def class_table(self, row: Row) -> tuple[list[str], list[list[Any]]]:
        """Header and a line for each class: its number, its samples, and every list of the row, with what is predicted
        for it behind."""
        header, columns = ["class", "samples"], list[list[Any]]([list(range(len(self.counts))), list(self.counts)])
        for key, value in row.items():
            if not (isinstance(value, list) and key.startswith(OF_CLASSES)):
                continue
            header.append(key)
            columns.append(value)
            if key in self.predicted_classes:
                header.append(f"predicted/{key}")
                columns.append(list(self.predicted_classes[key]))
        return header, [list(line) for line in zip(*columns, strict=True)]


@dataclass(frozen=True)
class Outcome:
    """How a sitting of a run has ended.

    state: done, failed, interrupted; of a process that could write nothing more, running. words: the run's summary, or
    why it failed. row: the last row. picture: curves.png, if it was drawn. facts: entries of the manifest in plain
    values, such as verdict.word and wall_seconds.
    """

    state: str
    words: str
    row: Row
    picture: Path | None
    facts: Mapping[str, str | float]


class Session:
    """What a logger does with one run, from its first row in this process on. Whatever it raises is told in a line, and
    the run goes on without it."""

    def last_epoch(self) -> float:
        """Up to which epoch it holds the run already, of earlier processes; -inf if it holds none of it. It is told all
        rows of the record after that, and no other."""
        return -math.inf

    def row(self, row: Row) -> None:
        """A measured epoch, as in metrics.jsonl."""

    def end(self, outcome: Outcome) -> None:
        """The last call: the process leaves the run, which may be continued by another one."""


@dataclass(frozen=True)
class Logger:
    """key: what users type in logger=[...]. words: what it is, in a line. open: begins with a run, or goes on with it.
    package: what has to be installed for it, "" for nothing."""

    key: str
    words: str
    open: Callable[[Logged], Session]
    package: str = ""

    def check(self) -> None:
        """Raises UserError, with the command, if its package is not installed."""
        if self.package and importlib.util.find_spec(self.package) is None:
            raise UserError(f"logger={self.key}: {self.package} is not installed: pip install {self.package}")
