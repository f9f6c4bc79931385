"""What an experiment's figure is made of: the runs of its grid at a scale, read from configs/experiment."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from ncrun.compose import compose_run, group_options
from ncrun.config import RunConfig, resolve
from ncrun.errors import UserError
from ncrun.figures import dang2023
from ncrun.records.read import Record

SCALES = ("cpu", "paper")
FIGURES: dict[str, Callable[[Sequence[Record]], Figure]] = {
    "dang2023/mlp-balanced": dang2023.mlp_balanced,
    "dang2023/mlp-imbalanced": dang2023.mlp_imbalanced,
}
# What `ncrun figures` draws without names, in the order in which a reader wants to see it.
CORE = ("dang2023/mlp-imbalanced", "dang2023/mlp-balanced")


@dataclass(frozen=True)
class PlannedRun:
    """One run of an experiment's grid: the overrides that train it, and where its records are."""

    experiment: str
    overrides: tuple[str, ...]
    run: RunConfig

    @property
    def directory(self) -> Path:
        return self.run.directory()

    @property
    def label(self) -> str:
        return " ".join([self.experiment, *self.overrides[2:]])


def check_name(name: str) -> None:
    """Raises UserError for a name that is no experiment with a figure."""
    from ncrun.config import nearest

    if name not in FIGURES:
        raise UserError(f"{name}: no such figure; the figures are {', '.join(FIGURES)}{nearest(name, list(FIGURES))}")
    assert name in group_options("experiment")


def plan(experiment: str, scale: str) -> list[PlannedRun]:
    """Every run of an experiment's grid, as `ncrun train -m experiment=... scale=...` would make it."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    base = (f"experiment={experiment}", f"scale={scale}")
    params = compose_run(base).hydra.sweeper.params
    sweep = OverridesParser.create().parse_overrides([f"{key}={values}" for key, values in params.items()])
    (jobs,) = BasicSweeper.split_arguments(sweep, None)
    planned = []
    for job in jobs:
        overrides = (*base, *job)
        planned.append(PlannedRun(experiment, overrides, resolve(compose_run(overrides))))
    return planned
