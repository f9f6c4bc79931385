"""The interface of a logger."""

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
    """The facts about a run that a logger gets.

    path: its directory. config: every key with its value, as config.yaml holds them; settings: the same by dotted keys.
    theory: theory.json. counts: samples of each class. predicted: by column of metrics.jsonl, the predicted number;
    predicted_classes: by column that is a list, a predicted number for each class, None if there is none.
    """

    path: Path
    config: Mapping[str, Any]
    settings: Mapping[str, Any]
    theory: Mapping[str, Any]
    counts: Sequence[int]
    predicted: Mapping[str, float] = field(default_factory=dict)
    predicted_classes: Mapping[str, Sequence[float | None]] = field(default_factory=dict)

    def scalars(self, row: Row) -> dict[str, float]:
        """The numbers of a row by their columns, and the predictions as predicted/COLUMN, which are the same at every
        epoch. Null columns and lists are skipped."""
        found = {key: float(value) for key, value in row.items() if isinstance(value, int | float)}
        return found | {f"predicted/{key}": value for key, value in self.predicted.items() if key in found}

    def class_table(self, row: Row) -> tuple[list[str], list[list[Any]]]:
        """A header and a line for each class: its number, its samples, and every list of the row followed by its
        prediction."""
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
    """How a run, or one process of it, ended.

    state: done, failed, interrupted; or running, if the process could not write any more. words: the run's summary, or
    why it failed. row: the last row. picture: curves.png, if it was drawn. facts: entries of the manifest as plain
    values, such as verdict.word and wall_seconds.
    """

    state: str
    words: str
    row: Row
    picture: Path | None
    facts: Mapping[str, str | float]


class Session:
    """A logger that is open for one run, from the first row in this process on. If it raises, one line reports the
    error, and the run goes on without it."""

    def last_epoch(self) -> float:
        """The last epoch of the run that it holds from earlier processes; -inf if none. It gets exactly the later rows
        of the record."""
        return -math.inf

    def row(self, row: Row) -> None:
        """A measured epoch, as in metrics.jsonl."""

    def end(self, outcome: Outcome) -> None:
        """The last call: the process ends its work on the run, which another process may continue."""


@dataclass(frozen=True)
class Logger:
    """key: its name in logger=[...]. words: one line about it. open: begins or continues a run.
    package: the package that it needs, "" for none."""

    key: str
    words: str
    open: Callable[[Logged], Session]
    package: str = ""

    def check(self) -> None:
        """Raises UserError, with the command, if its package is not installed."""
        if self.package and importlib.util.find_spec(self.package) is None:
            raise UserError(f"logger={self.key}: {self.package} is not installed: pip install {self.package}")
