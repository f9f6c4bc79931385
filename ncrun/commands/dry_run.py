"""`ncrun train dry_run=true`: the state, the prediction and the cost of each run. Trains and writes nothing."""

import socket
from collections.abc import Sequence
from typing import Any

from ncrun.data.request import DataRequest
from ncrun.errors import printable
from ncrun.records.glance import Glance, Overview, glance_at
from ncrun.records.groups import dotted
from ncrun.records.listing import duration, size
from ncrun.records.places import Folder
from ncrun.records.speed import Estimate, Speeds, Work
from ncrun.run import Job, Run
from ncrun.theory import Problem, predict
from ncrun.theory.report import as_line


def dry_run(jobs: Sequence[tuple[Sequence[str], Job]]) -> int:
    """Prints these lines for each job (given by its overrides) and the total; returns the exit status.

    Raises UserError for whatever training would refuse. Missing files of a known data set are no error: training would
    download them.
    """
    from ncrun.training.machine import device_name, device_of, threads_of
    from ncrun.training.runs import check

    told = _Telling([job for _, job in jobs])
    for typed, job in jobs:
        check(job, of_data=False)
        first = job.runs[0]
        device = device_of(first.machine, first.descent.precision)
        facts = {"device": device_name(device), "threads": threads_of(first, None)}
        print("\n".join(map(printable, told.of(typed, job, facts))), flush=True)
    print("\n".join(told.total()))
    return 0


class _Telling:
    def __init__(self, jobs: Sequence[Job]) -> None:
        from ncrun.training.cost import Costs

        roots = sorted({job.directory.parent for job in jobs if job.directory.parent.is_dir()})
        self._speeds = Speeds(Overview().look(roots), socket.gethostname())
        self._costs = Costs()
        self._predictions: dict[Problem, str] = {}
        self._left: list[float | None] = []
        self._jobs = 0

    def of(self, typed: Sequence[str], job: Job, facts: dict[str, Any]) -> list[str]:
        """The lines about a job."""
        self._jobs += 1
        seen = [(run, glance_at(Folder(run.directory))) for run in job.runs]
        left = [(run, glance) for run, glance in seen if glance is None or glance.state != "done"]
        lines = [f"{job.directory}: {_states(seen)}"]
        if words := [each for each in typed if not each.startswith("dry_run=")]:
            lines.append(f"  {' '.join(words)}")
        lines.append(f"  predicted: {self._predicted(job.runs[0].problem)}")
        if left:
            lines.append(f"  cost: {self._cost(left, facts)}")
        return lines

    def total(self) -> list[str]:
        """The last lines."""
        jobs = f"{self._jobs} job{'s' * (self._jobs > 1)}"
        if not self._left:
            return ["", f"dry run: {jobs}, nothing to train"]
        known = [seconds for seconds in self._left if seconds is not None]
        time = f"about {duration(sum(known))} one after the other" if known else "time not known"
        if 0 < len(known) < len(self._left):
            time += f", not counting {len(self._left) - len(known)} whose time is not known"
        return ["", f"dry run: {jobs}, {len(self._left)} to train; {time}; nothing is written"]

    def _predicted(self, problem: Problem) -> str:
        if problem not in self._predictions:
            self._predictions[problem] = as_line(predict(problem))
        return self._predictions[problem]

    def _cost(self, left: Sequence[tuple[Run, Glance | None]], facts: dict[str, Any]) -> str:
        """The cost of a job's unfinished runs, which have one shape and are trained at once."""
        run = left[0][0]
        cost = self._costs.of(run)
        shape = list(run.data.image_shape) if isinstance(run.data, DataRequest) else None
        known = {**facts, "parameters": cost.parameters, "num_samples": run.data.num_samples, "image_shape": shape}
        found = self._speeds.estimate(Work.of(dict(dotted(run.config)), known))
        share = sum(_share_left(run, glance) for run, glance in left)
        self._left.append(None if found is None else found.seconds * share)
        flop = cost.flop if cost.is_of_iteration else cost.flop * share
        several = f" in each of {len(left)} runs" if len(left) > 1 else ""
        return (
            f"{cost.parameters:.3g} parameters{several}, {flop:.2g} FLOP{' an iteration' * cost.is_of_iteration},"
            f" {size(len(left) * cost.memory)} of memory; {_time(found, share)}"
        )


def _states(seen: Sequence[tuple[Run, Glance | None]]) -> str:
    words = [_state(run, glance) for run, glance in seen]
    if len(words) == 1:
        return words[0]
    counts = {word: words.count(word) for word in dict.fromkeys(words)}
    return f"{len(words)} runs: {', '.join(f'{count} {word}' for word, count in counts.items())}"


def _state(run: Run, glance: Glance | None) -> str:
    if glance is None:
        return "new"
    if glance.state == "done":
        return "finished already; nothing to do"
    where = f" at epoch {glance.epoch} of {run.descent.most_epochs}" if glance.epoch and glance.epochs else ""
    if glance.state == "running":
        return f"running{where} (process {glance.holder.get('pid')} on {glance.host})"
    if glance.state == "interrupted":
        return f"interrupted{where}; continues"
    return f"{glance.state} ({glance.words}); will be tried again"


def _share_left(run: Run, glance: Glance | None) -> float:
    """The share of the training that is left."""
    if glance is None or glance.state not in ("interrupted", "running") or not glance.epoch or glance.epochs is None:
        return 1.0
    return max(0.0, 1 - glance.epoch / run.descent.most_epochs)


def _time(found: Estimate | None, share: float) -> str:
    if found is None:
        return "time not known: no similar run was timed on this machine"
    how = "as" if found.is_alike else "scaled from the nearest run,"
    return f"about {duration(found.seconds * share)}, {how} {found.run}"
