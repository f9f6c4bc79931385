"""What a figure is made of: the runs of an experiment's grid at a scale, read from configs/experiment, and how to draw
them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from ncrun.compose import compose_run, group_options, own_scales
from ncrun.config import RunConfig, resolve
from ncrun.errors import UserError, nearest
from ncrun.figures import (
    classes,
    convergence,
    dang2023,
    dang2024,
    etf_map,
    hysteresis,
    layers,
    matrices,
    phase,
    usual_set,
)
from ncrun.records.read import Record, find_records, read_manifest

SCALES = ("cpu", "real", "paper")
Drawing = Callable[[Sequence[Record]], Figure]
# What every experiment with networks is shown by, and those with unequal classes besides.
NETWORKS: dict[str, Drawing] = {"-grams": matrices.matrices, "-usual": usual_set.usual_set, "-ranks": usual_set.ranks}
IMBALANCED: dict[str, Drawing] = {"-classes": classes.sizes, "-angles": classes.angles}
# Each figure's drawings by the suffix of their file's name. Those of THEORY need no run.
FIGURES: dict[str, dict[str, Drawing]] = {
    "dang2023/mlp-imbalanced": {"": dang2023.imbalanced, "-ledger": dang2023.ledger, **NETWORKS, **IMBALANCED},
    "dang2023/mlp-imbalanced-emnist": {"": dang2023.imbalanced, **NETWORKS, **IMBALANCED},
    "dang2023/mlp-balanced": {"": convergence.convergence, **NETWORKS},
    "dang2023/convolutional-balanced": {"": convergence.convergence, **NETWORKS},
    "dang2023/convolutional-balanced-emnist": {"": convergence.convergence, **NETWORKS},
    "dang2023/cross-entropy-balanced": {"": convergence.convergence, **NETWORKS},
    "dang2023/direct-imbalanced": {"": dang2023.direct_imbalanced},
    "dang2023/direct-balanced": {"": dang2023.direct_balanced},
    "dang2023/geometry-3d": {"": dang2023.geometry_3d},
    "dang2023/phase": {"": phase.squared_loss},
    "dang2023/hysteresis": {"": hysteresis.hysteresis},
    "dang2024/direct": {"": dang2024.direct, "-grams": dang2024.direct_grams},
    "dang2024/mlp": {"": convergence.convergence, **NETWORKS, **IMBALANCED},
    "dang2024/mlp-cifar10": {"": convergence.convergence, **NETWORKS, **IMBALANCED},
    "dang2024/mlp-cifar100": {"": convergence.convergence, **NETWORKS, **IMBALANCED},
    "dang2024/convolutional": {"": convergence.convergence, **NETWORKS, **IMBALANCED},
    "dang2024/convolutional-cifar10": {"": convergence.convergence, **NETWORKS, **IMBALANCED},
    "dang2024/convolutional-cifar100": {"": convergence.convergence, **NETWORKS, **IMBALANCED},
    "dang2024/phase": {"": phase.relu_features},
    "sukenik2023/dufm": {"": layers.deep_collapse},
    "sukenik2023/dufm-width": {"": layers.width_ablation},
    "sukenik2023/end-to-end": {"": layers.deep_collapse, "-usual": usual_set.usual_set, "-ranks": usual_set.ranks},
    "sukenik2023/frozen-head": {"": layers.deep_collapse, "-usual": usual_set.usual_set, "-ranks": usual_set.ranks},
    "sukenik2023/phase": {"": phase.relu_head},
}
# What an experiment needs to be finished before its own runs can be planned.
NEEDS = {"sukenik2023/frozen-head": ("sukenik2023/head",)}
THEORY: dict[str, Callable[[], Figure]] = {"theory/etf-map": etf_map.etf_map}
# What `ncrun figures` draws without names, in the order in which a reader wants to see it.
CORE = (
    "dang2023/mlp-imbalanced",
    "dang2023/mlp-balanced",
    "dang2023/direct-imbalanced",
    "dang2023/geometry-3d",
    "dang2023/hysteresis",
    "dang2024/direct",
    "sukenik2023/dufm",
    "theory/etf-map",
)


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

    @property
    def summary(self) -> str | None:
        """What the finished run says of itself in one line; None while it is not finished."""
        manifest = read_manifest(self.directory, "summary.json" if self.run.restarts > 1 else "manifest.json")
        return str(manifest.get("summary", "done")) if manifest is not None and manifest["state"] == "done" else None

    def records(self) -> list[Record]:
        """The finished run, or with restarts all of them."""
        return find_records(self.directory)


def check_name(name: str) -> None:
    """Raises UserError for a name that is no figure."""
    names = [*FIGURES, *THEORY]
    if name not in names:
        raise UserError(f"{name}: no such figure; the figures are {', '.join(names)}{nearest(name, names)}")
    assert name in THEORY or name in group_options("experiment")


def scale_of(name: str, scale: str) -> str:
    """The scale that an experiment is run at: one without settings of its own for scales is small enough for any."""
    return scale if own_scales(name) else "paper"


def plan(experiment: str, scale: str, seeds: int = 1) -> list[PlannedRun]:
    """Every run of an experiment's grid, as `ncrun train -m experiment=... scale=...` would make it.

    seeds: so many runs of each network, with the seeds 0 to seeds - 1. Free features keep their one seed, or their
    restarts.
    """
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    base = (f"experiment={experiment}", f"scale={scale_of(experiment, scale)}")
    params = compose_run(base).hydra.sweeper.params or {}
    sweep = OverridesParser.create().parse_overrides([f"{key}={values}" for key, values in params.items()])
    (jobs,) = BasicSweeper.split_arguments(sweep, None)
    planned = []
    for job in jobs:
        overrides = (*base, *job)
        run = resolve(compose_run(overrides))
        planned.append(PlannedRun(experiment, overrides, run))
        for seed in range(1, 1 if run.is_free else seeds):
            seeded = (*overrides, f"seed={seed}")
            planned.append(PlannedRun(experiment, seeded, resolve(compose_run(seeded))))
    return planned
