"""`ncrun figures`: which runs a figure is made of, which are trained, and that redrawing gives the same picture."""

import shutil
from pathlib import Path

import pytest
from conftest import Command, Refused

from ncrun.compose import compose_run, group_options
from ncrun.config import resolve
from ncrun.figures import DRAWINGS, FROM_THEORY, command
from ncrun.figures.recipes import CORE, FIGURES, NEEDS, PlannedRun, plan
from ncrun.records.read import find_records
from ncrun.training.command import train

SMALL = ("model.depth=1", "model.width=8", "epochs=4", "counts=[3,3,4,4,5,5,6,6,7,7]", "threads=1")


@pytest.fixture
def folder(tmp_path: Path, ncrun: Command, undrawn: None) -> Path:
    """Depths 1 and 3 of the imbalanced experiment, trained for four epochs."""
    for depth in (1, 3):
        overrides = ("experiment=dang2023/mlp-imbalanced", "scale=cpu", *SMALL, f"head.depth={depth}")
        assert ncrun("train", *overrides, f"run_dir='{tmp_path}/records/M{depth}'").status == 0
    return tmp_path / "records"


def test_a_plan_is_the_experiments_grid() -> None:
    jobs = [job.overrides[2:] for job in plan("dang2023/mlp-imbalanced", "cpu")]
    assert jobs == [("head.depth=1",), ("head.depth=3",), ("head.depth=6",)]
    balanced = plan("dang2023/mlp-balanced", "paper")
    assert {(job.run.head.depth, job.run.head.bias) for job in balanced} == {(m, b) for m in (1, 3, 6) for b in (0, 1)}
    assert len({job.directory for job in balanced}) == 6


def test_both_scales_of_the_papers_imbalanced_setting() -> None:
    """The counts and decays of the released setting (its 1e-5 times K), and the small one's."""
    paper, small = (plan("dang2023/mlp-imbalanced", scale)[0].run for scale in ("paper", "cpu"))
    assert paper.class_counts() == [100, 100, 200, 200, 300, 300, 400, 400, 500, 500]
    assert (paper.dataset.name, paper.decay.weight, paper.decay.feature) == ("cifar10", 1e-4, 1e-4)
    assert small.class_counts() == [20, 20, 40, 40, 60, 60, 80, 80, 100, 100]
    assert (small.dataset.name, small.decay.weight, small.decay.feature) == ("digits", 5e-4, 5e-4)


def test_every_figure_is_an_experiment_or_theory() -> None:
    assert set(FIGURES) <= set(group_options("experiment"))
    assert set(CORE) <= {*FIGURES, *FROM_THEORY}
    assert {key for keys in FIGURES.values() for key in keys} <= set(DRAWINGS.keys())


def test_redrawing_gives_the_same_bytes(
    folder: Path, ncrun: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # one with rasters in its PDF
    monkeypatch.setitem(FIGURES, "dang2023/mlp-imbalanced", ("imbalanced", "angles"))
    for out in ("one", "two"):
        result = ncrun("figures", "dang2023/mlp-imbalanced", "--from", str(folder), "--out", out)
        assert result.status == 0
        assert f"drew {out}/dang2023/mlp-imbalanced-cpu.png" in result.out
    table = (workdir / "one/dang2023/table-cpu.csv").read_text().splitlines()
    assert table[0].startswith("experiment,head.depth,seeds,loss,")
    assert [line.split(",")[:3] for line in table[1:]] == [["dang2023/mlp-imbalanced", d, "1"] for d in ("1", "3")]
    for suffix in (".png", ".pdf", "-angles.png", "-angles.pdf"):
        first, second = (workdir / out / f"dang2023/mlp-imbalanced-cpu{suffix}" for out in ("one", "two"))
        assert first.read_bytes() == second.read_bytes()
        assert first.stat().st_size > 10_000


def test_missing_runs_are_trained_and_finished_ones_reused(
    ncrun: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real processes, with the grid of the experiment cut to two runs of a second."""

    def short_plan(name: str, scale: str, seeds: int = 1) -> list[PlannedRun]:
        jobs = [("experiment=dang2023/mlp-balanced", "scale=cpu", *SMALL, f"head.depth={depth}") for depth in (2, 1)]
        return [PlannedRun(name, job, resolve(compose_run(job))) for job in jobs]

    monkeypatch.setattr(command, "plan", short_plan)
    monkeypatch.setitem(FIGURES, "dang2023/mlp-balanced", ("convergence",))  # the others cost seconds
    first = ncrun("figures", "dang2023/mlp-balanced", "--jobs", "2")
    assert first.status == 0, first
    assert "[2 of 2]" in first.out
    assert [record.config["head"]["depth"] for record in find_records(workdir / "runs")] == [1, 2]
    assert "wrote figures/dang2023/table-cpu.md" in first.out
    assert (workdir / "figures/dang2023/table-cpu.tex").is_file()
    before = {path: path.stat().st_mtime_ns for path in (workdir / "runs").rglob("metrics.jsonl")}
    second = ncrun("figures", "dang2023/mlp-balanced")
    assert second.out.startswith("2 of 2 runs are finished already\n")
    assert {path: path.stat().st_mtime_ns for path in (workdir / "runs").rglob("metrics.jsonl")} == before


def test_order_of_training() -> None:
    """Each figure's first curve early, then the long runs before the short ones."""
    names = [name for name in CORE if name in FIGURES]
    runs = [run for name in names for run in plan(name, "cpu")]
    ordered = command._in_order(runs)
    leaders, rest = ordered[: len(names)], ordered[len(names) :]
    assert {run.experiment for run in leaders} == set(names)
    for run in leaders:
        assert run.run.depth == min(each.run.depth for each in runs if each.experiment == run.experiment)
    depths = [run.run.depth for run in rest]
    assert depths == sorted(depths, reverse=True)
    assert {id(run) for run in ordered} == {id(run) for run in runs}


def test_refusals(refused: Refused, workdir: Path) -> None:
    assert "did you mean 'dang2023/mlp-balanced'" in refused("figures", "dang2023/mlp-balancd")
    assert refused("figures", "--from", "nowhere").startswith("--from=nowhere: no such folder")
    (workdir / "empty").mkdir()
    assert "holds no finished run" in refused("figures", "--from", "empty")
    assert refused("figures", "--jobs", "0").startswith("--jobs=0")


def test_a_record_that_lacks_an_entry(folder: Path, refused: Refused, workdir: Path) -> None:
    shutil.copytree(folder / "M1", workdir / "damaged")
    path = workdir / "damaged" / "config.yaml"
    path.write_text(path.read_text().replace("  bias: false\n", ""))
    line = refused("figures", "dang2023/mlp-imbalanced", "--from", "damaged")
    assert line.startswith("dang2023/mlp-imbalanced: cannot be drawn: one of its records is damaged")
    assert "bias" in line


def test_seeds_are_of_networks_only() -> None:
    network, free = "dang2023/mlp-imbalanced-emnist", "sukenik2023/dufm"
    assert [run.run.seed for run in plan(network, "cpu", seeds=3)] == [0, 1, 2]
    assert plan(network, "cpu", seeds=3)[0].directory == plan(network, "cpu")[0].directory
    assert plan(free, "cpu", seeds=3) == plan(free, "cpu")


def test_seeds_are_refused_where_they_mean_nothing(refused: Refused, workdir: Path) -> None:
    assert refused("figures", "--seeds", "0").startswith("--seeds=0: must be at least 1")
    assert refused("figures", "--seeds", "2", "--from", ".").startswith("--seeds=2: has no effect")


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
        return sum(train(run.run) for run in runs)

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
