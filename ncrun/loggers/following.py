"""Connects a training run with its loggers: they are opened at the first row, get every row, and are dropped when they
fail."""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ncrun.figures.plot_predictions import prediction_of
from ncrun.loggers import LOGGERS, Logged, Outcome, Session
from ncrun.records import whole
from ncrun.records.groups import dotted, settings_of
from ncrun.records.read import Record, load_record
from ncrun.records.table import last_row


class Following:
    """The loggers of one run. names: their keys; directory: the run's."""

    def __init__(self, names: Sequence[str], directory: Path) -> None:
        self._names, self._directory = names, directory
        self._sessions: dict[str, tuple[Session, float]] | None = None  # with the last epoch that each logger holds

    def row(self, row: dict[str, Any]) -> None:
        """Takes a row that was just appended to metrics.jsonl. At the first row of this process the loggers are opened,
        and get the earlier rows that they do not have."""
        if self._sessions is None:
            self._open()
            return
        for name in list(self._sessions):
            self._tell(name, row)

    def end(self) -> None:
        """Reports how the run, or only this process, ended; the loggers get nothing after that."""
        if not self._sessions:
            return
        try:
            outcome = _outcome(load_record(self._directory))
        except Exception as error:
            self._warn(", ".join(self._sessions), error)
            return
        for name, (session, _) in list(self._sessions.items()):
            self._try(name, lambda session=session: session.end(outcome))  # type: ignore[misc]
        self._sessions = {}

    def _open(self) -> None:
        self._sessions = {}
        record: Record | None = None
        for name in self._names:
            try:
                record = record or load_record(self._directory)
                session = LOGGERS[name].open(_logged(record))
                self._sessions[name] = session, session.last_epoch()
            except Exception as error:
                self._warn(name, error)
                continue
            for row in _rows(record):
                self._tell(name, row)

    def _tell(self, name: str, row: dict[str, Any]) -> None:
        assert self._sessions is not None
        if name in self._sessions:
            session, until = self._sessions[name]
            if row["epoch"] > until:
                self._try(name, lambda: session.row(row))

    def _try(self, name: str, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception as error:
            assert self._sessions is not None
            self._sessions.pop(name, None)
            self._warn(name, error)

    def _warn(self, name: str, error: Exception) -> None:
        said = (str(error).strip().splitlines() or [""])[0]
        why = f"{type(error).__name__}: {said}" if said else type(error).__name__
        print(
            f"ncrun: {self._directory}: logger {name} failed ({why}); the run goes on without it",
            file=sys.stderr,
        )


def _rows(record: Record) -> Iterator[dict[str, Any]]:
    """The numbers as in metrics.jsonl; null is None."""
    for row in record.metrics.to_dict("records"):
        yield {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}


def _logged(record: Record) -> Logged:
    K = len(record.manifest["class_counts"])
    lists = [key for key in record.metrics if key.startswith(whole.OF_CLASSES)]
    numbers = {key: prediction_of(record, key) for key in record.metrics if not key.startswith(whole.LISTS)}
    of_classes = {key: [prediction_of(record, key, k) for k in range(K)] for key in lists}
    return Logged(
        path=record.path,
        config=record.config,
        settings=settings_of(record),
        theory=record.theory,
        counts=record.manifest["class_counts"],
        predicted={key: value for key, value in numbers.items() if math.isfinite(value)},
        predicted_classes={
            key: [value if math.isfinite(value) else None for value in values]
            for key, values in of_classes.items()
            if any(map(math.isfinite, values))
        },
    )


def _outcome(record: Record) -> Outcome:
    manifest, picture = record.manifest, record.path / "curves.png"
    state = manifest["state"]
    facts = {"claim": record.theory["claim"], "state": state}
    for key in ("wall_seconds", "verdict"):
        facts |= dict(dotted({key: manifest[key]})) if key in manifest else {}
    return Outcome(
        state=state,
        words=str(manifest.get("summary") or manifest.get("reason") or ""),
        row=last_row(record),
        picture=picture if state == "done" and picture.is_file() else None,
        facts={key: value for key, value in facts.items() if isinstance(value, str | int | float)},
    )
