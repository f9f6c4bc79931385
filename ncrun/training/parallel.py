"""Trains one run in all processes that torchrun started; the first one writes the record."""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ncrun.data.batches import batch_slices
from ncrun.data.request import DataRequest
from ncrun.errors import UserError
from ncrun.records import RunDirectory
from ncrun.run import Job, Run
from ncrun.training.checkpoint import Search, search
from ncrun.training.machine import device_of
from ncrun.training.memory import refuse_what_is_too_large
from ncrun.training.program import Sitting, train_program
from ncrun.training.ranks import PeerLost, Ranks, joined


def train_on_ranks(jobs: Sequence[Job]) -> int:
    """Trains or continues the run; returns the exit status. Raises UserError in each process; the user sees the first
    one's."""
    run = jobs[0].runs[0]
    device = device_of(run.machine, run.descent.precision)
    with joined(device.type == "cuda") as ranks, tempfile.TemporaryDirectory() as scratch:
        # Only the first process writes.
        folder = run.directory if ranks.is_first else Path(scratch) / "run"
        try:
            return _train(jobs, ranks, RunDirectory(folder, run.identity))
        except UserError as error:
            if not ranks.is_first:
                ranks.say_last_words(str(error))
            raise
        except PeerLost:
            raise UserError(ranks.words_of_lost()) from None


def _train(jobs: Sequence[Job], ranks: Ranks, record: RunDirectory) -> int:
    run = jobs[0].runs[0]
    refuse(jobs, ranks.number)
    refuse_what_is_too_large([run], device_of(run.machine, run.descent.precision))
    with _taken_up(record, ranks) as found:
        if found is None:
            return 0
        if not ranks.is_first:
            record.hold()
            found = Search(found.content, (), None)
            run = replace(run, loggers=(), machine=replace(run.machine, progress=False))
        return train_program([Sitting(run, record, found)], ranks=ranks)


@contextlib.contextmanager
def _taken_up(record: RunDirectory, ranks: Ranks) -> Iterator[Search | None]:
    """The first process' search for checkpoints, for all processes; None if another process has finished the run. The
    record is released at the end."""

    def found() -> Search | None:
        if not record.hold():
            print(f"{record.path}: finished meanwhile by another process; nothing to do")
            return None
        return search(record)

    try:
        yield ranks.told_by_first(found)
    finally:
        record.release()


def refuse(jobs: Sequence[Job], number: int) -> None:
    """Raises UserError for runs that only one process can train, and for fewer samples than processes. number: of
    processes."""
    run = jobs[0].runs[0]
    reason = _reason(run, number)
    if len(jobs) > 1 or jobs[0].is_group:
        reason = "several runs; use jobs=N, which trains each in one process"
    if reason is not None:
        raise UserError(f"{number} ranks of torchrun cannot train {reason}")


def _reason(run: Run, number: int) -> str | None:
    descent, data = run.descent, run.data
    if run.is_free or not isinstance(data, DataRequest):
        return f"model={run.model.name}, which has no batches"
    for said, is_so in (
        ("cuda_graphs=true", run.machine.cuda_graphs),
        ("compile=true", run.machine.compile),
        ("finish=lbfgs", bool(descent.finish)),
        ("taps", bool(run.taps)),
        ("a ReLU head, whose layers one process must measure", run.problem.head == "relu"),
        ("a run on targets", run.problem.targets is not None),
    ):
        if is_so:
            return said
    whole = (
        [slice(0, data.num_samples)] if descent.is_full_batch else batch_slices(data.num_samples, descent.batch_size)
    )
    least = min(part.stop - part.start for part in whole)
    if least < number:
        return f"batches of {least} samples; change batch_size or counts"
    return None
