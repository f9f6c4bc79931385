"""The runs that an experiment's figures need: those of its grid at a scale, and where their records are."""

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
    """One job of an experiment's grid. typed: its overrides."""

    experiment: str
    typed: tuple[str, ...]
    job: Job

    @property
    def label(self) -> str:
        return " ".join([self.experiment, *self.typed[2:]])

    @property
    def summary(self) -> str | None:
        """The summary of the finished job; None before that."""
        return summary_of(self.job)

    def records(self) -> list[Record]:
        """The finished run, or all restarts."""
        return find_records(self.job.directory)


def summary_of(job: Job) -> str | None:
    """The summary in a finished job's folder; None before that."""
    manifest = read_manifest(job.directory, "summary.json" if job.is_group else "manifest.json")
    return str(manifest.get("summary", "done")) if manifest is not None and manifest["state"] == "done" else None


def job_of(typed: Sequence[str]) -> Job:
    """The job that `ncrun train` makes from these overrides. Raises UserError."""
    return resolve(compose(with_scale(typed)), typed)


def plan(experiment: str, scale: str, seeds: int = 1, more: Sequence[str] = ()) -> list[PlannedJob]:
    """Every job of an experiment's grid, as `ncrun train -m experiment=... scale=...` makes it.

    seeds: the number of runs of each network, with the seeds 0 to seeds - 1. Free features keep their one seed or their
    restarts. more: overrides for all jobs. Raises UserError.
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
