"""What a figure is made of: the runs of an experiment's grid at a scale, read from configs/experiment, and its drawings
by name."""

from dataclasses import dataclass
from pathlib import Path

from ncrun.compose import compose_run, group_options, own_scales
from ncrun.config import RunConfig, resolve
from ncrun.errors import UserError, nearest
from ncrun.figures import FROM_THEORY
from ncrun.records.read import Record, find_records, read_manifest

SCALES = ("cpu", "real", "paper")
# What every experiment with networks is shown by, and those with unequal classes besides.
NETWORKS = ("grams", "usual", "ranks")
IMBALANCED = (*NETWORKS, "classes", "angles")
# Each experiment's drawings by their keys; the first has the experiment's own name as its file's.
FIGURES: dict[str, tuple[str, ...]] = {
    "dang2023/mlp-imbalanced": ("imbalanced", "ledger", *IMBALANCED),
    "dang2023/mlp-imbalanced-emnist": ("imbalanced", *IMBALANCED),
    "dang2023/mlp-balanced": ("convergence", *NETWORKS),
    "dang2023/convolutional-balanced": ("convergence", *NETWORKS),
    "dang2023/convolutional-balanced-emnist": ("convergence", *NETWORKS),
    "dang2023/cross-entropy-balanced": ("convergence", *NETWORKS),
    "dang2023/direct-imbalanced": ("direct-imbalanced",),
    "dang2023/direct-balanced": ("direct-balanced",),
    "dang2023/geometry-3d": ("geometry-3d",),
    "dang2023/phase": ("phase-squared-loss",),
    "dang2023/hysteresis": ("hysteresis",),
    "dang2024/direct": ("direct", "direct-grams"),
    "dang2024/mlp": ("convergence", *IMBALANCED),
    "dang2024/mlp-cifar10": ("convergence", *IMBALANCED),
    "dang2024/mlp-cifar100": ("convergence", *IMBALANCED),
    "dang2024/convolutional": ("convergence", *IMBALANCED),
    "dang2024/convolutional-cifar10": ("convergence", *IMBALANCED),
    "dang2024/convolutional-cifar100": ("convergence", *IMBALANCED),
    "dang2024/phase": ("phase-relu-features",),
    "sukenik2023/dufm": ("deep-collapse",),
    "sukenik2023/dufm-width": ("width-ablation",),
    "sukenik2023/end-to-end": ("deep-collapse", "usual", "ranks"),
    "sukenik2023/frozen-head": ("deep-collapse", "usual", "ranks"),
    "sukenik2023/phase": ("phase-relu-head",),
}
# What an experiment needs to be finished before its own runs can be planned.
NEEDS = {"sukenik2023/frozen-head": ("sukenik2023/head",)}
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
        manifest = read_manifest(self.directory, self.run.manifest_name)
        return str(manifest.get("summary", "done")) if manifest is not None and manifest["state"] == "done" else None

    def records(self) -> list[Record]:
        """The finished run, or with restarts all of them."""
        return find_records(self.directory)


def check_name(name: str) -> None:
    """Raises UserError for a name that is no figure."""
    names = [*FIGURES, *FROM_THEORY]
    if name not in names:
        raise UserError(f"{name}: no such figure; the figures are {', '.join(names)}{nearest(name, names)}")
    assert name in FROM_THEORY or name in group_options("experiment")


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
