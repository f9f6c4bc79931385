"""What an experiment's figure needs to be drawn: the runs of its grid at a scale, and where their records are."""

from collections.abc import Sequence
from dataclasses import dataclass

from ncrun.config.compose import compose
from ncrun.config.experiments import recipe, with_scale
from ncrun.config.grid import expand
from ncrun.config.resolve import resolve
from ncrun.records.read import Record, find_records, read_manifest
from ncrun.run import Job


@dataclass(frozen=True)
class PlannedJob:
    """One job of an experiment's grid. typed: the overrides that train it."""

    experiment: str
    typed: tuple[str, ...]
    job: Job

    @property
    def label(self) -> str:
        return " ".join([self.experiment, *self.typed[2:]])

    @property
    def summary(self) -> str | None:
        """What the finished job says of itself in one line; None while it is not finished."""
        return summary_of(self.job)

    def records(self) -> list[Record]:
        """The finished run, or with restarts all of them."""
        return find_records(self.job.directory)


def summary_of(job: Job) -> str | None:
    """What a finished job's folder says of it in one line; None while it is not finished."""
    manifest = read_manifest(job.directory, "summary.json" if job.is_group else "manifest.json")
    return str(manifest.get("summary", "done")) if manifest is not None and manifest["state"] == "done" else None


def job_of(typed: Sequence[str]) -> Job:
    """What `ncrun train` makes of these overrides. Raises UserError."""
    return resolve(compose(with_scale(typed)), typed)


def plan(experiment: str, scale: str, seeds: int = 1, more: Sequence[str] = ()) -> list[PlannedJob]:
    """Every job of an experiment's grid, as `ncrun train -m experiment=... scale=...` would make it.

    seeds: so many runs of each network, with the seeds 0 to seeds - 1. Free features keep their one seed, or their
    restarts. more: overrides of all jobs. Raises UserError.
    """
    typed = [f"experiment={experiment}", f"scale={recipe(experiment).scale(scale)}", *more]
    planned = []
    for overrides in expand(typed):
        job = job_of(overrides)
        planned.append(PlannedJob(experiment, tuple(overrides), job))
        for seed in range(1, 1 if job.runs[0].is_free else seeds):
            seeded = (*overrides, f"seed={seed}")
            planned.append(PlannedJob(experiment, seeded, job_of(seeded)))
    return planned
