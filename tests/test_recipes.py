"""The papers' experiments: every one composes at every scale that it has and trains a step there, on files in its data
sets' own formats, with the decays that follow from the papers' nominal ones."""

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
from conftest import Command, Compose, Refused
from test_data import small_set

from ncrun.compose import compose_run, group_options, own_scales
from ncrun.config import RunConfig, SGDConfig, resolve
from ncrun.data.catalogue import CATALOGUE
from ncrun.figures import command
from ncrun.figures.recipes import NEEDS, SCALES, PlannedRun, plan
from ncrun.records.read import load_record
from ncrun.training.runs import train

EXPERIMENTS = group_options("experiment")
grid = cache(plan)  # composing takes a tenth of a second a run; not for those of NEEDS, which look into a folder
AT_SCALES = [(name, scale) for name in EXPERIMENTS for scale in own_scales(name)]


@pytest.fixture
def head(workdir: Path, ncrun: Command, undrawn: None) -> None:
    """The run that frozen-head takes its head from, ended at once by a large tolerance."""
    result = ncrun("train", "experiment=sukenik2023/head", "optimizer.tolerance=1e9", "optimizer.kicks=0")
    assert result.status == 0, result


def narrow(run: PlannedRun, data: Path) -> RunConfig:
    """The same run for one epoch on two samples a class, its network as small as it can be."""
    K = run.run.num_classes
    small = [f"counts={[2] * K}", "batch_size=full", "epochs=1", "threads=1", "device=cpu", f"data_dir='{data}'"]
    if run.run.head.frozen is None:  # else its features have the head's dimension
        is_mlp = run.run.model.name == "mlp"
        small += ["model.depth=1", "model.width=8"] if is_mlp else ["model.width=0.05"]
    return resolve(compose_run((*run.overrides, *small)))


def one_of_each(runs: list[PlannedRun]) -> list[PlannedRun]:
    """Runs of a grid among which every data set and every model is."""
    seen: set[str] = set()
    chosen = []
    for run in runs:
        assert run.run.dataset is not None
        names = {run.run.dataset.name, run.run.model.name}
        if not names <= seen:
            chosen.append(run)
            seen |= names
    return chosen


@pytest.mark.parametrize(("name", "scale"), AT_SCALES)
def test_every_scale_composes_and_trains(
    name: str, scale: str, request: pytest.FixtureRequest, workdir: Path, undrawn: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recorded under its own name, whatever it inherits from, and each run in a directory of its own."""
    if name in NEEDS:
        request.getfixturevalue("head")
    runs = (plan if name in NEEDS else grid)(name, scale)
    assert {(run.run.experiment, run.run.scale) for run in runs} == {(name, scale)}
    assert {run.run.name for run in runs} == {name.replace("/", "-")}
    assert len({run.directory for run in runs}) == len(runs)
    data = workdir / "data"
    data.mkdir()
    for dataset in sorted({run.run.dataset.name for run in runs if run.run.dataset is not None} - {"digits"}):
        small_set(dataset, data, monkeypatch)
    for planned in one_of_each(runs):
        run = narrow(planned, data)
        assert train([run]) == 0
        record = load_record(run.directory())
        assert (record.manifest["experiment"], record.manifest["scale"]) == (name, scale)
        assert math.isfinite(record.metrics["loss"].iloc[-1])
        # not the bound itself, but that there is none where weight decay is plain
        assert (record.metrics["gap"].notna().all()) == (record.theory["claim"] in ("proven", "certified"))


def test_scale_cpu_needs_no_files_and_few_runs() -> None:
    """Three seeds of networks without convolutions and one of the others: at most 60 runs."""
    runs = [run.run for name in EXPERIMENTS if own_scales(name) and name not in NEEDS for run in grid(name, "cpu")]
    assert {run.dataset.name for run in runs if run.dataset is not None} == {"digits"}
    assert sum(3 if run.model.name == "mlp" else 1 for run in runs) + 3 * len(NEEDS) <= 60


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if own_scales(name) and "real" not in own_scales(name)])
def test_a_scale_that_is_not_there_is_refused(name: str, refused: Refused) -> None:
    line = refused("train", f"experiment={name}", "scale=real")
    assert line.startswith("scale=real: dang20")
    assert line.endswith("has none, only cpu, paper")


# ---------------------------------------------------------------- decays as the papers' released code has them


def steps(run: RunConfig) -> int:
    """Batches of an epoch of the released code, its last partial one included."""
    return 1 if run.is_full_batch else math.ceil(run.num_samples / run.batch_size)


def nominal_2023(run: RunConfig) -> tuple[float, float | None]:
    """Dang et al. 2023 minimise sum / (B K) (imbalanced: half of it) + lam/2 |W|^2 + lam/2 |H of the batch|^2, all with
    one nominal lam; the objective here is what makes the data term sum / (2 B). Cross-entropy: already this one's."""
    K = run.num_classes
    imbalanced = len(set(run.class_counts())) > 1
    nominal = 1e-5 if imbalanced else 1e-4
    factor = 1 if run.loss == "ce" else (1 / 2) / (1 / (2 * K) if imbalanced else 1 / K)
    # a sum over the batch is the mean over batches times their number
    return factor * nominal, factor * nominal / steps(run) if run.decay.mode == "features" else None


def nominal_2024(run: RunConfig) -> tuple[float, float]:
    """Dang et al. 2024 minimise half the cross-entropy + 1e-4/2 |W|^2 + 1e-5/2 |H of the batch|^2."""
    return 2 * 1e-4, 2 * 1e-5 / steps(run)


@pytest.mark.parametrize(
    "name", [name for name, scale in AT_SCALES if scale == "paper" and not name.startswith("sukenik")]
)
def test_decays_are_the_converted_nominal_ones(name: str) -> None:
    """3e-3: the recipes give three digits."""
    for planned in grid(name, "paper"):
        run = planned.run
        weight, feature = (nominal_2023 if name.startswith("dang2023") else nominal_2024)(run)
        assert run.decay.weight == pytest.approx(weight, rel=3e-3)
        assert (run.decay.feature is None) == (feature is None)
        if feature is not None:
            assert run.decay.feature == pytest.approx(feature, rel=3e-3)
        if isinstance(run.optimizer, SGDConfig):  # steps as long as 1e-3 on 2/K of this objective
            assert run.optimizer.lr == pytest.approx(1e-3 * 2 / run.num_classes, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("dang2023/mlp-imbalanced", [100, 100, 200, 200, 300, 300, 400, 400, 500, 500]),
        ("dang2023/mlp-imbalanced-emnist", [1500] + [600] * 5 + [50] * 20),
        ("dang2023/mlp-balanced", [5000] * 10),
        ("dang2023/convolutional-balanced-emnist", [4800] * 26),
        ("dang2024/mlp", [100, 100, 200, 200, 300, 300, 400, 400, 500, 500]),
        ("dang2024/convolutional-cifar10", [1000, 1000, 2000, 2000, 3000, 3000, 4000, 4000, 5000, 5000]),
        ("dang2024/mlp-cifar100", [100] * 20 + [200] * 20 + [300] * 20 + [400] * 20 + [500] * 20),
        ("dang2024/convolutional-cifar100", [100] * 20 + [200] * 20 + [300] * 20 + [400] * 20 + [500] * 20),
    ],
)
def test_class_counts_of_the_papers(name: str, counts: list[int]) -> None:
    assert all(run.run.class_counts() == counts for run in grid(name, "paper"))


@pytest.mark.parametrize("scale", SCALES)
def test_feature_decay_of_a_relu_head_goes_with_the_samples(scale: str, head: None) -> None:
    """lam_H n is what theory knows of lam_H: 5000 * 5e-6 end to end, and 50 * 5e-4 for the frozen head."""
    for name in ("sukenik2023/end-to-end", "sukenik2023/frozen-head"):
        for planned in plan(name, scale):
            assert planned.run.class_counts()[0] * (planned.run.decay.feature or 0) == pytest.approx(2.5e-2)


# ---------------------------------------------------------------- a typed data set


@pytest.mark.parametrize("dataset", sorted(CATALOGUE))
@pytest.mark.parametrize("base", [(), ("experiment=dang2023/mlp-balanced", "scale=cpu", "counts=null")])
def test_typed_dataset_brings_its_keys(dataset: str, base: tuple[str, ...], run_config: Compose) -> None:
    """All of them, over those of an experiment's scale; a typed key wins over them wherever it stands."""
    wanted = (3, 32, 32) if dataset != "digits" else (1, 8, 8)
    typed = f"dataset={dataset}"
    assert run_config(*base, typed).image_shape == wanted
    for order in ((typed, "dataset.size=16"), ("dataset.size=16", typed)):
        run = run_config(*base, *order)
        assert (run.dataset.name, run.image_shape) == (dataset, (wanted[0], 16, 16))


@pytest.mark.parametrize("typed", [(), ("dataset.size=16",)])
def test_typed_dataset_in_a_sweep(typed: tuple[str, ...], ncrun: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one that is typed, and in the experiment's own."""
    seen: list[tuple[str, tuple[int, ...]]] = []

    def note(runs: Sequence[RunConfig]) -> int:
        (run,) = runs
        assert run.dataset is not None
        seen.append((run.dataset.name, run.image_shape))
        return 0

    monkeypatch.setattr("ncrun.training.runs.train", note)
    monkeypatch.setattr("ncrun.training.runs.preflight", lambda run: None)
    size = 16 if typed else 32
    base = ("train", "-m", "experiment=dang2024/mlp", "scale=paper", *typed)
    assert ncrun(*base).status == 0
    assert seen == [(name, (3, size, size)) for name in ("mnist", "fashion_mnist", "svhn")]
    seen.clear()
    assert ncrun(*base, "dataset=digits,mnist", f"counts={[40] * 10}").status == 0
    assert seen == [("digits", (1, *((16, 16) if typed else (8, 8)))), ("mnist", (3, size, size))]


# ---------------------------------------------------------------- seeds, and what has to be there first


def test_seeds_are_of_networks_only() -> None:
    network, free = "dang2023/mlp-imbalanced-emnist", "sukenik2023/dufm"
    assert [run.run.seed for run in plan(network, "cpu", seeds=3)] == [0, 1, 2]
    assert plan(network, "cpu", seeds=3)[0].directory == grid(network, "cpu")[0].directory
    assert plan(free, "cpu", seeds=3) == grid(free, "cpu")


def test_seeds_are_refused_where_they_mean_nothing(refused: Refused, workdir: Path) -> None:
    assert refused("figures", "--seeds", "0").startswith("--seeds=0: must be at least 1")
    assert refused("figures", "--seeds", "2", "--from", ".").startswith("--seeds=2: has no effect")


def test_a_frozen_head_that_is_not_there(refused: Refused) -> None:
    assert refused("train", "experiment=sukenik2023/frozen-head", "scale=cpu").startswith("head.frozen=")


def test_figures_train_the_head_first(workdir: Path, undrawn: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """For frozen-head cannot be planned before; a finished one is not trained again."""
    wanted = "sukenik2023/frozen-head"
    at_once = ("optimizer.tolerance=1e9", "optimizer.kicks=0")
    short = {wanted: ("epochs=2",), **dict.fromkeys(NEEDS[wanted], at_once)}
    trained: list[str] = []

    def short_plan(name: str, scale: str, seeds: int = 1) -> list[PlannedRun]:
        jobs = [(*run.overrides, *short[name], "threads=1") for run in plan(name, scale, seeds)]
        return [PlannedRun(name, job, resolve(compose_run(job))) for job in jobs]

    def train_here(runs: list[PlannedRun], *_: object) -> int:
        trained.extend(run.experiment for run in runs)
        return sum(train([run.run]) for run in runs)

    monkeypatch.setattr(command, "plan", short_plan)
    monkeypatch.setattr(command, "check_name", lambda name: None)
    monkeypatch.setattr(command, "_train", train_here)
    monkeypatch.setattr(command, "_draw_finished", lambda *_: None)
    for _ in range(2):
        assert command.figures([wanted]) == 0
    assert trained == ["sukenik2023/head", wanted]


def test_figures_stop_if_the_head_fails(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "check_name", lambda name: None)
    monkeypatch.setattr(command, "_train", lambda runs, *_: len(runs))
    assert command.figures(["sukenik2023/frozen-head"]) == 1
