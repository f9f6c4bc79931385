"""Measuring and recording what trains: one record for each start that lives in the model."""

import time
from collections.abc import Sequence
from typing import Any

from ncrun.models import FreeFeatures, Network
from ncrun.records import RunDirectory
from ncrun.training.checkpoint import Progress
from ncrun.training.evaluate import Evaluator

# A loss so many times its first value has exploded, even if it is still a number.
EXPLOSION = 1e6


class Diverged(Exception):
    """The loss is no longer a number; the message says where, and what to try. failures: the same for each start."""

    def __init__(self, failures: dict[int, str]) -> None:
        super().__init__(next(iter(failures.values())))
        self.failures = failures


class Logbook:
    """Measures every start and appends a row to its record. Keeps the clock of `progress`."""

    def __init__(
        self,
        network: Network | FreeFeatures,
        records: Sequence[RunDirectory],
        progress: Progress,
        advice: Sequence[str] = (),
    ) -> None:
        """advice: for each start, what to try when it diverges."""
        assert len(records) == network.num_members
        self.network = network
        self.records = records
        self.progress = progress
        self.advice = advice
        self._began = time.perf_counter() - progress.seconds

    def keep_time(self) -> None:
        """Bring progress.seconds up to now."""
        self.progress.seconds = time.perf_counter() - self._began

    def measure(
        self, evaluators: Sequence[Evaluator], rates: Sequence[float] | None = None, **more: Any
    ) -> dict[str, Any]:
        """One row for every start that has not diverged; returns the first one's. rates: learning rates, if any.

        A start whose loss is no longer a number leaves the others alone; raises Diverged when none is left.
        """
        progress, began, row = self.progress, time.perf_counter(), None
        for index, (record, evaluator) in enumerate(zip(self.records, evaluators, strict=True)):
            if index in progress.failures:
                continue
            rate = None if rates is None else rates[index]
            try:
                values = evaluator(self.network.member(index))
                first = progress.first_losses.setdefault(index, values["loss"])
                if values["loss"] > EXPLOSION * first:
                    raise FloatingPointError(f"the loss is {values['loss']:.3g}, from {first:.3g} at the start")
            except FloatingPointError as error:
                where = f"after step {progress.step} (epoch {progress.epoch})"
                where += f" with learning rate {rate:g}" if rate else ""
                progress.failures[index] = f"diverged: {error} {where}{self.advice[index] if self.advice else ''}"
                continue
            self.keep_time()
            line = {"epoch": progress.epoch, "step": progress.step, **more, **values}
            line |= {"lr": rate, "seconds": round(progress.seconds, 3)}
            record.append(line)
            row = row or line
        self.keep_time()
        progress.measuring_seconds += time.perf_counter() - began
        if row is None:
            raise Diverged(progress.failures)
        return row
