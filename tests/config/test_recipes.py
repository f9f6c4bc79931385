"""The papers' experiments: every one composes at every scale that it has and trains a step there, on files in its data
sets' own formats, with the decays that follow from the papers' nominal ones."""

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from conftest import Command, Refused, RunOf
from original_files import small_set

from ncrun.config.experiments import SCALES, recipe
from ncrun.config.folders import experiments
from ncrun.config.grid import expand
from ncrun.config.planning import PlannedJob, job_of, plan
from ncrun.data import SOURCES
from ncrun.data.request import DataRequest
from ncrun.data.sources.own import OwnData
from ncrun.records.read import load_record
from ncrun.run import SGD, Job, Run
from ncrun.theory import predict
from ncrun.training.runs import train

EXPERIMENTS = experiments()
grid = cache(plan)  # composing takes a tenth of a second a run; not for those of NEEDS, which look into a folder
AT_SCALES = [(name, scale) for name in EXPERIMENTS for scale in recipe(name).scales]
COME_ALONG = {"digits", "diabetes", "linnerud"}  # with scikit-learn
NEEDS = {name: recipe(name).needs for name in EXPERIMENTS if recipe(name).needs}


@pytest.fixture
def head(workdir: Path, ncrun: Command, undrawn: None) -> None:
    """The run that frozen-head takes its head from, ended at once by a large tolerance."""
    result = ncrun("train", "experiment=sukenik2023/head", "optimizer.tolerance=1e9", "optimizer.kicks=0")
    assert result.status == 0, result


def run_of_job(planned: PlannedJob) -> Run:
    (run,) = planned.job.runs
    return run


def dataset_of(run: Run) -> str:
    assert isinstance(run.data, DataRequest)
    return run.data.source.name


def narrow(planned: PlannedJob, data: Path) -> Job:
    """The same job for one epoch on two samples a class, its network as small as it can be."""
    run = run_of_job(planned)
    K = run.problem.num_classes
    few = [f"counts={[2] * K}"] if K else []  # targets have no classes
    small = [*few, "batch_size=full", "epochs=1", "threads=1", "device=cpu", f"data_dir='{data}'"]
    if run.descent.finish:
        small += ["finish_iterations=2"]
    if run.frozen_head is None:  # else its features have the head's dimension
        is_mlp = run.model.name == "mlp"
        small += ["model.depth=1", "model.width=8"] if is_mlp else ["model.width=0.05"]
    return job_of((*planned.typed, *small))


def one_of_each(runs: list[PlannedJob]) -> list[PlannedJob]:
    """Runs of a grid among which every data set and every model is."""
    seen: set[str] = set()
    chosen = []
    for planned in runs:
        names = {dataset_of(run_of_job(planned)), run_of_job(planned).model.name}
        if not names <= seen:
            chosen.append(planned)
            seen |= names
    return chosen


@pytest.mark.parametrize(("name", "scale"), AT_SCALES)
def test_every_scale_composes_and_trains(
    name: str, scale: str, request: pytest.FixtureRequest, workdir: Path, undrawn: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recorded under its own name, whatever it inherits from, and each run in a directory of its own."""
    if name in NEEDS:
        request.getfixturevalue("head")
    planned_jobs = (plan if name in NEEDS else grid)(name, scale)
    runs = [run_of_job(planned) for planned in planned_jobs]
    assert {(run.about["experiment"], run.about["scale"]) for run in runs} == {(name, scale)}
    assert {run.config["name"] for run in runs} == {name.replace("/", "-")}
    assert len({run.directory for run in runs}) == len(runs)
    data = workdir / "data"
    data.mkdir()
    for dataset in sorted({dataset_of(run) for run in runs} - COME_ALONG):
        small_set(dataset, data, monkeypatch)
    for planned in one_of_each(planned_jobs):
        job = narrow(planned, data)
        assert train([job]) == 0
        record = load_record(job.directory)
        assert (record.manifest["experiment"], record.manifest["scale"]) == (name, scale)
        assert math.isfinite(record.metrics["loss"].iloc[-1])
        # not the bound itself, but that there is none where weight decay is plain
        assert (record.metrics["gap"].notna().all()) == (record.theory["claim"] in ("proven", "certified"))


def test_scale_cpu_needs_no_files_and_few_runs() -> None:
    """Three seeds of networks without convolutions and one of the others: of the papers at most 60 runs."""
    names = [name for name in EXPERIMENTS if recipe(name).scales and name not in NEEDS]
    runs = [run_of_job(planned) for name in names for planned in grid(name, "cpu")]
    assert {dataset_of(run) for run in runs} == COME_ALONG
    of_papers = [run for run in runs if not run.about["experiment"].startswith("beyond/")]
    assert sum(3 if run.model.name == "mlp" else 1 for run in of_papers) + 3 * len(NEEDS) <= 60


@pytest.mark.parametrize(
    "name", [name for name in EXPERIMENTS if recipe(name).scales and "real" not in recipe(name).scales]
)
def test_a_scale_that_is_not_there_is_refused(name: str, refused: Refused) -> None:
    line = refused("train", f"experiment={name}", "scale=real")
    assert line == f"scale=real: {name} has only {', '.join(sorted(recipe(name).scales))}"


# ---------------------------------------------------------------- decays as the papers' released code has them


def steps(run: Run) -> int:
    """Batches of an epoch of the released code, its last partial one included."""
    return 1 if run.descent.is_full_batch else math.ceil(run.data.num_samples / run.descent.batch_size)


def nominal_2023(run: Run) -> tuple[float, float | None]:
    """Dang et al. 2023 minimise sum / (B K) (imbalanced: half of it) + lam/2 |W|^2 + lam/2 |H of the batch|^2, all with
    one nominal lam; the objective here is what makes the data term sum / (2 B). Cross-entropy: already this one's."""
    K = run.problem.num_classes
    imbalanced = len(set(run.data.counts)) > 1
    nominal = 1e-5 if imbalanced else 1e-4
    factor = 1 if run.problem.loss == "ce" else (1 / 2) / (1 / (2 * K) if imbalanced else 1 / K)
    # a sum over the batch is the mean over batches times their number
    return factor * nominal, factor * nominal / steps(run) if run.problem.decay_mode == "features" else None


def nominal_2024(run: Run) -> tuple[float, float]:
    """Dang et al. 2024 minimise half the cross-entropy + 1e-4/2 |W|^2 + 1e-5/2 |H of the batch|^2."""
    return 2 * 1e-4, 2 * 1e-5 / steps(run)


@pytest.mark.parametrize("name", [name for name, scale in AT_SCALES if scale == "paper" and name.startswith("dang")])
def test_decays_are_the_converted_nominal_ones(name: str) -> None:
    """3e-3: the recipes give three digits."""
    for planned in grid(name, "paper"):
        run = run_of_job(planned)
        weight, feature = (nominal_2023 if name.startswith("dang2023") else nominal_2024)(run)
        assert run.problem.weight_decays == pytest.approx((weight,) * run.problem.depth, rel=3e-3)
        assert (run.problem.feature_decay is None) == (feature is None)
        if feature is not None:
            assert run.problem.feature_decay == pytest.approx(feature, rel=3e-3)
        if isinstance(run.descent.optimizer, SGD):  # steps as long as 1e-3 on 2/K of this objective
            assert run.descent.optimizer.lr == pytest.approx(1e-3 * 2 / run.problem.num_classes, rel=1e-6)


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
    assert all(list(run_of_job(planned).data.counts) == counts for planned in grid(name, "paper"))


@pytest.mark.parametrize("scale", SCALES)
def test_feature_decay_of_a_relu_head_goes_with_the_samples(scale: str, head: None) -> None:
    """lam_H n is what theory knows of lam_H: 5000 * 5e-6 end to end, and 50 * 5e-4 for the frozen head."""
    for name in ("sukenik2023/end-to-end", "sukenik2023/frozen-head"):
        for planned in plan(name, scale):
            run = run_of_job(planned)
            assert run.data.counts[0] * (run.problem.feature_decay or 0) == pytest.approx(2.5e-2)


# ---------------------------------------------------------------- what is no product of values


def test_cases_are_trained_on_all_of_the_grid_and_what_is_typed_wins() -> None:
    """Those of all scales, then the scale's own; a typed key takes the place of a case's."""
    start = ["experiment=beyond/imbalance-remedies", "scale=cpu"]
    cases = [job[2:] for job in expand([*start, "head.bias=true,false"])]
    assert [job[0] for job in cases] == ["dataset=digits"] * 10
    assert cases[:4:2] == [
        ["dataset=digits", "head.bias=True"],
        ["dataset=digits", "class_weights=balanced", "head.bias=True"],
    ]
    smoothed = expand([*start, "label_smoothing=0.2"])
    assert [job[-1] for job in smoothed] == ["label_smoothing=0.2"] * 5


def test_the_weights_of_equal_margins_are_those_that_theory_finds() -> None:
    """To the four digits that the experiment has of them, with which margins are equal to 1e-3."""
    for scale in SCALES:
        run = run_of_job(grid("beyond/imbalance-remedies", scale)[-1])
        margins = predict(run.problem).margins()
        assert margins is not None
        assert np.ptp(margins) < 1e-3 * margins.max()
        assert sum(w * n for w, n in zip(run.problem.class_weights, run.data.counts, strict=True)) == pytest.approx(
            run.data.num_samples, rel=1e-3
        )


# ---------------------------------------------------------------- a typed data set


IMAGES = [source.key for source in SOURCES if not (isinstance(source, OwnData) or source.may_hold_targets)]


@pytest.mark.parametrize("dataset", IMAGES)
@pytest.mark.parametrize("base", [(), ("experiment=dang2023/mlp-balanced", "scale=cpu", "counts=null")])
def test_typed_dataset_brings_its_keys(dataset: str, base: tuple[str, ...], run_of: RunOf) -> None:
    """All of them, over those of an experiment's scale; a typed key wins over them wherever it stands."""
    wanted = (3, 32, 32) if dataset != "digits" else (1, 8, 8)
    typed = f"dataset={dataset}"
    assert run_of(*base, typed).data.image_shape == wanted
    for order in ((typed, "dataset.size=16"), ("dataset.size=16", typed)):
        run = run_of(*base, *order)
        assert (dataset_of(run), run.data.image_shape) == (dataset, (wanted[0], 16, 16))


@pytest.mark.parametrize("typed", [(), ("dataset.size=16",)])
def test_typed_dataset_in_a_sweep(typed: tuple[str, ...], ncrun: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one that is typed, and in the experiment's own."""
    seen: list[tuple[str, tuple[int, ...]]] = []

    def note(jobs: Sequence[Job], quiet: bool) -> int:
        (run,) = jobs[0].runs
        seen.append((dataset_of(run), run.data.image_shape))
        return 0

    monkeypatch.setattr("ncrun.training.runs.train", note)
    monkeypatch.setattr("ncrun.training.runs.check", lambda job: None)
    size = 16 if typed else 32
    base = ("train", "-m", "experiment=dang2024/mlp", "scale=paper", *typed)
    assert ncrun(*base).status == 0
    assert seen == [(name, (3, size, size)) for name in ("mnist", "fashion_mnist", "svhn")]
    seen.clear()
    assert ncrun(*base, "dataset=digits,mnist", f"counts={[40] * 10}").status == 0
    assert seen == [("digits", (1, *((16, 16) if typed else (8, 8)))), ("mnist", (3, size, size))]


# ---------------------------------------------------------------- what has to be there first


def test_a_frozen_head_that_is_not_there(refused: Refused) -> None:
    assert refused("train", "experiment=sukenik2023/frozen-head", "scale=cpu").startswith("head.frozen=")
