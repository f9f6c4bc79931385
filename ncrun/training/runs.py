"""Trains the runs of jobs in as few programs as possible."""

import json
import sys
from collections.abc import Iterator, Sequence

from ncrun.data import streamed, tensors
from ncrun.data.request import DataRequest
from ncrun.losses import Loss, loss_of
from ncrun.records import RunDirectory
from ncrun.run import LBFGS, Job, Run
from ncrun.training.checkpoint import search, step_back
from ncrun.training.finished import is_finished, nothing_to_do
from ncrun.training.machine import device_of
from ncrun.training.memory import refuse_what_is_too_large
from ncrun.training.optimisers import StepRule
from ncrun.training.program import Sitting, check_own, check_taps, network_of, train_program
from ncrun.training.restarts import Restarts, how_it_diverged
from ncrun.training.streaming import streaming_of
from ncrun.training.supervise import supervise

# Keys in which the runs of one program may differ, besides learning rates, and counts with the same sum and number.
MAY_DIFFER = ("seed", "decay", "name", "run_dir", "experiment", "scale")


def train(jobs: Sequence[Job], quiet: bool = False) -> int:
    """Trains or continues the runs of jobs; returns the highest exit status (1: one failed).

    quiet: print nothing about finished runs, because the caller does. Finished runs are left alone, and diverged ones,
    too, unless all have diverged. Raises UserError before anything is written, such as for a run whose folder holds
    other files, or that another process trains.
    """
    folders = [Restarts(job) for job in jobs if job.is_group]
    told = {folder.path: folder.state() for folder in folders}
    sittings = []
    for job in jobs:
        left = _unfinished(job, told.get(job.directory), quiet)
        if left:
            first = left[0].run
            device = device_of(first.machine, first.descent.precision)
            refuse_what_is_too_large([each.run for each in left], device)
        sittings += left
    again = len(sittings) == sum(len(job.runs) for job in jobs) and all(each.diverged for each in sittings)
    if again:
        for each in sittings:
            each.diverged = None
    statuses = [0]
    try:
        sittings = [each for each in sittings if each.diverged or _holds(each)]
        for each in sittings:
            if not (each.diverged or _starts_again(each.run)):
                each.found = search(each.record)
        for each in sittings:
            if each.diverged:
                print(f"ncrun: {each.record.path}: {each.diverged}", file=sys.stderr)
                statuses.append(1)
        for program in _programs(sittings):
            statuses.append(train_program(program, quiet))
            if statuses[-1] >= 128:  # a signal ends all
                return statuses[-1]
    finally:
        for each in sittings:
            each.record.release()
    for folder in folders:
        if (again or told[folder.path] is None) and folder.has_ended():
            statuses.append(_close(folder, quiet))
    return max(statuses)


def check(job: Job, of_data: bool = True) -> None:
    """Raises the UserErrors of `train` for this job that do not depend on the configuration: device, run directory and
    data.

    A sweep calls this for all jobs before the first one starts. of_data: read the data, too; missing files of a known
    data set are downloaded.
    """
    first = job.runs[0]
    device = device_of(first.machine, first.descent.precision)
    refuse_what_is_too_large(job.runs, device)
    if job.is_group:
        Restarts(job).state()
    for run in job.runs:
        RunDirectory(run.directory, run.identity).state()
    if of_data:
        streaming = streaming_of(first, device)
        if streaming is None:
            tensors.check(first.data)
        else:
            assert isinstance(first.data, DataRequest)
            streamed.check(first.data, streaming)
    if first.taps:
        check_taps(first, network_of(first))
    check_own(first, device)


def _unfinished(job: Job, told: str | None, quiet: bool) -> list[Sitting]:
    """The unfinished runs of a job. told: the state in the summary of its restarts, if there is one."""
    if is_finished(job):
        if not quiet:
            print(nothing_to_do(job))
        return []
    found = []
    for run in job.runs:
        record = RunDirectory(run.directory, run.identity)
        if record.state() != "done":
            found.append(Sitting(run, record, diverged=how_it_diverged(record)))
    if job.is_group and told is None and all(each.diverged for each in found):
        return []  # all have ended, only the summary is missing
    return found


def _close(folder: Restarts, quiet: bool) -> int:
    return supervise(str(folder.path), [], "", lambda stop_requested: folder.close(quiet))


def _holds(sitting: Sitting) -> bool:
    if not sitting.record.hold():
        print(f"{sitting.record.path}: finished meanwhile by another process; nothing to do")
        return False
    return True


def _starts_again(run: Run) -> bool:
    """Whether an interrupted run keeps no checkpoint: it starts again, and ends with the same bits."""
    return isinstance(run.descent.optimizer, LBFGS)


def _programs(sittings: Sequence[Sitting]) -> Iterator[list[Sitting]]:
    """Groups runs of one shape whose checkpoints are at the same position. Diverged ones keep their places in the first
    program of their shape."""
    by_shape: dict[tuple[str, Loss], list[Sitting]] = {}
    for each in sittings:
        by_shape.setdefault(_shape(each.run), []).append(each)
    for alike in by_shape.values():
        waiting = [each for each in alike if not each.diverged]
        _meet(waiting)
        positions = list(dict.fromkeys(each.found.position for each in waiting))
        for n, position in enumerate(positions):
            together = [each for each in alike if (n == 0 if each.diverged else each.found.position == position)]
            # Neighbours with the same learning rate share a step.
            yield sorted(together, key=lambda each: _rate(each.run))


def _meet(alike: Sequence[Sitting]) -> None:
    """Lets runs that were killed between the first and the last one's checkpoint continue from the checkpoint
    before."""
    for position in sorted({each.found.position for each in alike}):
        for each in alike:
            each.found = step_back(each.record, each.found, position)


def _shape(run: Run) -> tuple[str, Loss]:
    """Equal for runs that can share a program. With equal options the losses may differ, if these depend on counts."""
    loss = loss_of(run.problem)
    if not run.is_free or _starts_again(run):
        return str(run.directory), loss
    content = {key: value for key, value in run.config.items() if key not in MAY_DIFFER}
    content["optimizer"] = {key: value for key, value in content["optimizer"].items() if key != "lr"}
    content["model"] = {key: value for key, value in content["model"].items() if not key.endswith("_std")}
    content["counts"] = [run.problem.num_classes, run.data.num_samples]
    return json.dumps(content, sort_keys=True), loss


def _rate(run: Run) -> float:
    return 0.0 if _starts_again(run) else StepRule.of(run.descent.optimizer).lr
