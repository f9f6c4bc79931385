"""`ncrun train`: from validated configurations to finished run directories, by way of as few programs as can be."""

import json
import sys
from collections.abc import Iterator, Sequence

from ncrun.config import LBFGSConfig, RunConfig, data_directory
from ncrun.data.load import check_run_data
from ncrun.models import build
from ncrun.records import RunDirectory
from ncrun.training.checkpoint import search, step_back
from ncrun.training.machine import device_of
from ncrun.training.optimisers import StepRule
from ncrun.training.program import Sitting, check_taps, train_program
from ncrun.training.restarts import Restarts, how_it_diverged, separate
from ncrun.training.supervise import supervise

# What the runs of one program may differ in, besides their rates, and counts that have the same sum and number.
MAY_DIFFER = ("seed", "decay", "name", "run_dir", "experiment", "scale")


def train(runs: Sequence[RunConfig]) -> int:
    """Train runs, or continue them; returns the exit status, the highest of all (1: one diverged or failed).

    A finished run is left alone, and so is one that has diverged while others are to be continued. Raises UserError
    before anything is written, such as for a run whose folder holds something else, or that another process trains.
    """
    folders = [Restarts(run) for run in runs if run.restarts > 1]
    told = {folder.path: folder.state() for folder in folders}
    sittings = [each for run in runs for each in _unfinished(run, told.get(run.directory()))]
    for each in sittings:
        device_of(each.run)
    if all(each.diverged for each in sittings):
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
            statuses.append(train_program(program))
            if statuses[-1] >= 128:  # a signal ends all
                return statuses[-1]
    finally:
        for each in sittings:
            each.record.release()
    for folder in folders:
        if told[folder.path] != "done" and folder.has_ended():
            statuses.append(_close(folder))
    return max(statuses)


def preflight(run: RunConfig) -> None:
    """What `train` would refuse in this run beyond its configuration: device, run directory and data. Raises UserError.

    A sweep asks this of all its jobs before the first one starts.
    """
    device_of(run)
    if run.restarts > 1:
        Restarts(run).state()
    for each in separate(run):
        RunDirectory(each.directory(), each.identity()).state()
    if run.dataset is not None:
        check_run_data(run, data_directory(run))
    if run.taps:
        check_taps(run, build(run))


def _unfinished(run: RunConfig, told: str | None) -> list[Sitting]:
    """The runs of a configuration that are not done. told: what the summary of its restarts says, if there is one."""
    whole = run.restarts == 1
    if told == "done":
        print(f"{run.directory()}: finished already; nothing to do")
        return []
    found = []
    for each in separate(run):
        record = RunDirectory(each.directory(), each.identity())
        if record.state() == "done":
            if whole:
                print(f"{record.path}: finished already; nothing to do")
        else:
            found.append(Sitting(each, record, diverged=how_it_diverged(record)))
    if not whole and told is None and all(each.diverged for each in found):
        return []  # all have ended, only the summary is to be written
    return found


def _close(folder: Restarts) -> int:
    return supervise(str(folder.path), [], "", lambda stop_requested: folder.close())


def _holds(sitting: Sitting) -> bool:
    if not sitting.record.hold():
        print(f"{sitting.record.path}: finished meanwhile by another process; nothing to do")
        return False
    return True


def _starts_again(run: RunConfig) -> bool:
    """Whether nothing is kept of an interrupted run: it starts again, and ends with the same bits."""
    return isinstance(run.optimizer, LBFGSConfig)


def _programs(sittings: Sequence[Sitting]) -> Iterator[list[Sitting]]:
    """Runs of one shape whose checkpoints stand at the same place, together. Those that have diverged keep their places
    in the first program of their shape."""
    by_shape: dict[str, list[Sitting]] = {}
    for each in sittings:
        by_shape.setdefault(_shape(each.run), []).append(each)
    for alike in by_shape.values():
        waiting = [each for each in alike if not each.diverged]
        _meet(waiting)
        positions = list(dict.fromkeys(each.found.position for each in waiting))
        for n, position in enumerate(positions):
            together = [each for each in alike if (n == 0 if each.diverged else each.found.position == position)]
            # Neighbours with the same learning rate are stepped in one call.
            yield sorted(together, key=lambda each: _rate(each.run))


def _meet(alike: Sequence[Sitting]) -> None:
    """Let runs that were killed between the first one's checkpoint and the last one's go on from the one before."""
    for position in sorted({each.found.position for each in alike}):
        for each in alike:
            each.found = step_back(each.record, each.found, position)


def _shape(run: RunConfig) -> str:
    """Equal for runs that can share a program."""
    if not run.is_free or _starts_again(run):
        return str(run.directory())
    content = {key: value for key, value in run.as_dict().items() if key not in MAY_DIFFER}
    del content["optimizer"]["lr"], content["model"]["feature_std"], content["model"]["weight_std"]
    content["counts"] = [run.num_classes, run.num_samples]
    return json.dumps(content, sort_keys=True)


def _rate(run: RunConfig) -> float:
    return 0.0 if _starts_again(run) else StepRule.of(run).lr
