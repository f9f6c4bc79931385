"""Measures and records the runs in training, one record for each run of the network."""

import math
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from torch.linalg import LinAlgError  # type: ignore[attr-defined]

from ncrun.models.free_model import FreeFeatures
from ncrun.models.network import Network
from ncrun.records import RunDirectory
from ncrun.training.checkpoint import Progress
from ncrun.training.evaluate import Evaluator, Moment
from ncrun.training.restarts import DIVERGED
from ncrun.training.snapshots import Album

# A loss above its first value times this has diverged, even if it is still finite.
EXPLOSION = 1e6


class Diverged(Exception):
    """The loss of every run is not finite."""


class Logbook:
    """Measures every run and appends a row to its record. Updates the clock of `progress`. A diverged run is closed as
    failed at once, with a line on stderr."""

    def __init__(
        self,
        network: Network | FreeFeatures,
        records: Sequence[RunDirectory],
        progress: Progress,
        advice: Sequence[str],
        albums: Sequence[Album],
    ) -> None:
        """advice: for each run, what to try if it diverges. albums: of each run's snapshots."""
        assert len(records) == network.num_runs
        self.network = network
        self.records = records
        self.progress = progress
        self.advice = advice
        self.albums = albums
        for index, album in enumerate(albums):
            if index not in progress.failures:
                album.take_up(progress)
        self._began = time.perf_counter() - progress.seconds

    def keep_time(self) -> None:
        """Updates progress.seconds."""
        self.progress.seconds = time.perf_counter() - self._began

    def measure(
        self, evaluators: Sequence[Evaluator], rates: Sequence[float] | None = None, **more: Any
    ) -> dict[str, Any]:
        """Writes one row for every run that has not diverged; returns the first one's. rates: learning rates, if any.

        A diverged run does not affect the others; raises Diverged when none is left.
        """
        progress, began, row = self.progress, time.perf_counter(), None
        for index, (record, evaluator) in enumerate(zip(self.records, evaluators, strict=True)):
            if index in progress.failures:
                continue
            try:
                values, seen = self._seen(index, evaluator, self.albums[index].is_due(progress.epoch))
                _refuse_non_finite(values)
                first = progress.first_losses.setdefault(index, values["loss"])
                if values["loss"] > EXPLOSION * first:
                    raise FloatingPointError(f"the loss is {values['loss']:.3g}, from {first:.3g} at the start")
            except (FloatingPointError, LinAlgError) as error:
                self._fail(index, str(error), rates)
                continue
            self.keep_time()
            line = {"epoch": progress.epoch, "step": progress.step, **more, **values}
            line |= {"lr": None if rates is None else rates[index], "seconds": round(progress.seconds, 3)}
            record.append(line)
            if seen is not None:
                self.albums[index].add(progress.epoch, seen)
            row = row or line
        self.keep_time()
        progress.measuring_seconds += time.perf_counter() - began
        self._end_without_runs()
        assert row is not None
        return row

    def _seen(self, index: int, evaluator: Evaluator, keeps_moment: bool) -> tuple[dict[str, Any], Moment | None]:
        """A row, and the measured samples."""
        seen: list[Moment] = []
        values = evaluator(self.network.of_run(index), seen.append if keeps_moment else None)
        return values, seen[0] if seen else None

    def write_snapshots(self) -> None:
        """Writes the snapshots of every run that has not diverged, before its checkpoint."""
        for index, album in enumerate(self.albums):
            if index not in self.progress.failures:
                album.write()

    def check_parameters(self, rates: Sequence[float] | None) -> None:
        """Raises Diverged if no run is left whose parameters are all finite."""
        for index in self.diverging():
            self._fail(index, "the parameters are not finite", rates)
        self._end_without_runs()

    def diverging(self) -> list[int]:
        """Runs whose parameters are not finite and that are not reported yet."""
        return [
            index
            for index in range(len(self.records))
            if index not in self.progress.failures
            and not all(bool(each.isfinite().all()) for each in self.network.of_run(index).parameters())
        ]

    def _fail(self, index: int, what: str, rates: Sequence[float] | None) -> None:
        where = f"after step {self.progress.step} (epoch {self.progress.epoch})"
        where += f" with learning rate {rates[index]:g}" if rates else ""
        why = f"{DIVERGED}{what} {where}{self.advice[index]}"
        self.progress.failures[index] = why
        record = self.records[index]
        record.close(state="failed", reason=why)
        print(f"ncrun: {record.path}: {why}", file=sys.stderr)

    def _end_without_runs(self) -> None:
        if len(self.progress.failures) == len(self.records):
            raise Diverged


def _refuse_non_finite(values: Mapping[str, Any]) -> None:
    """Raises FloatingPointError with the name of the metric: what is not determined is null, never NaN."""
    for key, value in values.items():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, float) and not math.isfinite(each):
                raise FloatingPointError(f"{key} is {each}")
