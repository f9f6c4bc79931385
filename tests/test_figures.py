"""Figures: which runs they are made of, what they draw, and that redrawing gives the same picture."""

from pathlib import Path

import numpy as np
import pytest
from conftest import Command, Refused
from matplotlib import pyplot as plt

from ncrun.compose import compose_run
from ncrun.config import resolve
from ncrun.figures import command, dang2023, panels
from ncrun.figures.curves import run_curves
from ncrun.figures.recipes import CORE, FIGURES, PlannedRun, plan
from ncrun.records.read import Record, find_records, load_record

SMALL = ("model.depth=1", "model.width=8", "epochs=4", "counts=[3,3,4,4,5,5,6,6,7,7]", "threads=1")
IMBALANCED = ("experiment=dang2023/mlp-imbalanced", "scale=cpu", *SMALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("records")


@pytest.fixture
def records(folder: Path, ncrun: Command, undrawn: None) -> list[Record]:
    """Depths 1 and 3 of the imbalanced experiment, trained for four epochs; kept for the whole module."""
    for depth in (1, 3):
        assert ncrun("train", *IMBALANCED, f"head.depth={depth}", f"run_dir={folder}/M{depth}").status == 0
    panels.use_style()
    return find_records(folder)


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


def test_norms_are_drawn_beside_their_prediction(records: list[Record]) -> None:
    """Dots are the last row of metrics.jsonl, the dashed line is theory.json, class by class."""
    figure = dang2023.mlp_imbalanced(records)
    lines = figure.axes[4].get_lines()
    assert figure.axes[4].get_title() == "squared norm of classifier rows"
    for record, (dashed, dots) in zip(records, [lines[0:2], lines[2:4]], strict=True):
        classes = record.theory["classes"]
        expected = sorted((entry["count"], entry["weight_norm_sq"]) for entry in classes)
        assert np.array_equal(np.transpose(dashed.get_data()), expected)
        assert list(dots.get_ydata()) == record.metrics["class.weight_norm_sq"].iloc[-1]
        assert list(dots.get_xdata()) == [entry["count"] for entry in classes]
    plt.close(figure)


def test_curves_are_the_measured_ones(records: list[Record]) -> None:
    """Without epoch 0, which a log axis cannot show; dotted: the distance to the balanced prediction."""
    figure = dang2023.mlp_imbalanced(records)
    solid, dotted = figure.axes[1].get_lines()[:2]
    frame = records[0].metrics
    assert list(solid.get_xdata()) == list(frame["epoch"][1:])
    assert list(solid.get_ydata()) == list(frame["nc2_w"][1:])
    assert list(dotted.get_ydata()) == list(frame["balanced.nc2_w"][1:])
    plt.close(figure)


def test_a_caption_says_scale_data_and_epochs(records: list[Record]) -> None:
    for draw in FIGURES.values():
        figure = draw(records)
        text = figure.get_supxlabel()
        for words in ("Scale cpu", "digits", "50 samples", "3 to 7 per class", "4 epochs", "seed 0", "small version"):
            assert words in text
        plt.close(figure)


def test_a_depth_keeps_its_colour_while_others_are_missing(records: list[Record]) -> None:
    assert panels.colour_of(records[1]) == "C1"
    alone, both = dang2023.mlp_imbalanced(records[1:]), dang2023.mlp_imbalanced(records)
    assert alone.axes[0].get_lines()[0].get_color() == both.axes[0].get_lines()[1].get_color() == "C1"
    plt.close("all")


def test_the_picture_of_one_run(records: list[Record]) -> None:
    """The proven optimum is a line in the loss panel."""
    figure = run_curves(records[0])
    optimum = figure.axes[0].get_lines()[1].get_ydata()
    assert list(optimum) == [records[0].theory["objective"]] * 2
    plt.close(figure)


def test_redrawing_gives_the_same_bytes(records: list[Record], folder: Path, ncrun: Command, workdir: Path) -> None:
    for out in ("one", "two"):
        result = ncrun("figures", "dang2023/mlp-imbalanced", "--from", str(folder), "--out", out)
        assert result.status == 0
        assert f"drew {out}/dang2023/mlp-imbalanced-cpu.png" in result.out
    for suffix in ("png", "pdf"):
        first, second = (workdir / out / f"dang2023/mlp-imbalanced-cpu.{suffix}" for out in ("one", "two"))
        assert first.read_bytes() == second.read_bytes()
        assert first.stat().st_size > 10_000


def test_missing_runs_are_trained_and_finished_ones_reused(
    ncrun: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real processes, with the grid of the experiment cut to two runs of a second."""

    def short_plan(name: str, scale: str) -> list[PlannedRun]:
        jobs = [(*IMBALANCED, f"head.depth={depth}") for depth in (2, 1)]
        return [PlannedRun(name, job, resolve(compose_run(job))) for job in jobs]

    monkeypatch.setattr(command, "plan", short_plan)
    first = ncrun("figures", "dang2023/mlp-imbalanced", "--jobs", "2")
    assert first.status == 0, first
    assert "[2 of 2]" in first.out
    assert [record.config["head"]["depth"] for record in find_records(workdir / "runs")] == [1, 2]
    before = {path: path.stat().st_mtime_ns for path in (workdir / "runs").rglob("metrics.jsonl")}
    second = ncrun("figures", "dang2023/mlp-imbalanced")
    assert second.out.startswith("2 of 2 runs are finished already\n")
    assert {path: path.stat().st_mtime_ns for path in (workdir / "runs").rglob("metrics.jsonl")} == before


def test_order_of_training() -> None:
    """Each figure's first curve early, then the long runs before the short ones."""
    runs = [run for name in CORE for run in plan(name, "cpu")]
    ordered = command._in_order(runs)
    assert [run.experiment for run in ordered[:2]] == list(CORE)
    assert [run.run.head.depth for run in ordered] == [1, 1, 6, 6, 6, 3, 3, 3, 1]
    assert {id(run) for run in ordered} == {id(run) for run in runs}


def test_refusals(refused: Refused, workdir: Path) -> None:
    assert "did you mean 'dang2023/mlp-balanced'" in refused("figures", "dang2023/mlp-balancd")
    assert refused("figures", "--from", "nowhere").startswith("--from=nowhere: no such folder")
    (workdir / "empty").mkdir()
    assert "holds no finished run" in refused("figures", "--from", "empty")
    assert refused("figures", "--jobs", "0").startswith("--jobs=0")


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    from ncrun.errors import UserError

    with pytest.raises(UserError, match="is not a run directory"):
        load_record(tmp_path)
