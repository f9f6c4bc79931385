"""Figures: which runs they are made of, what they draw, and that redrawing gives the same picture."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Command, Refused
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from ncrun.compose import compose_run, group_options
from ncrun.config import resolve
from ncrun.figures import classes, command, convergence, dang2023, layers, panels
from ncrun.figures.curves import run_curves
from ncrun.figures.recipes import CORE, FIGURES, THEORY, PlannedRun, plan
from ncrun.records.read import Record, find_records, load_record

Trained = Callable[..., list[Record]]
SMALL = ("model.depth=1", "model.width=8", "epochs=4", "counts=[3,3,4,4,5,5,6,6,7,7]", "threads=1")
IMBALANCED = ("experiment=dang2023/mlp-imbalanced", "scale=cpu", *SMALL)


def caption_of(figure: Figure) -> str:
    """The caption's words, once the figure is drawn (warnings are errors) and the caption is seen to end in it."""
    figure.canvas.draw()
    (label,) = (text for text in figure.texts if text.get_text() == figure.get_supxlabel())
    assert label.get_window_extent().x1 <= figure.bbox.x1
    return " ".join(label.get_text().split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("records")


@pytest.fixture(scope="module")
def free_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("free")


@pytest.fixture
def trained(free_folder: Path, ncrun: Command, undrawn: None) -> Trained:
    """trained("dang2023/geometry-3d", "head.bias=true"): the records of that run, trained once for the whole module."""
    panels.use_style()

    def train(experiment: str, *overrides: str) -> list[Record]:
        directory = free_folder / "-".join([experiment, *overrides]).replace("/", "-")
        if not directory.exists():
            result = ncrun("train", f"experiment={experiment}", *overrides, f"run_dir='{directory}'")
            assert result.status == 0, result
        return find_records(directory)

    return train


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
    figure = dang2023.imbalanced(records)
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
    figure = dang2023.imbalanced(records)
    solid, dotted = figure.axes[1].get_lines()[:2]
    frame = records[0].metrics
    assert list(solid.get_xdata()) == list(frame["epoch"][1:])
    assert list(solid.get_ydata()) == list(frame["nc2_w"][1:])
    assert list(dotted.get_ydata()) == list(frame["balanced.nc2_w"][1:])
    plt.close(figure)


def test_a_caption_says_scale_data_and_epochs(records: list[Record]) -> None:
    for draw in (*FIGURES["dang2023/mlp-imbalanced"].values(), *FIGURES["dang2023/mlp-balanced"].values()):
        figure = draw(records)
        text = caption_of(figure)
        for words in ("Scale cpu", "digits", "50 samples", "3 to 7 per class", "4 epochs", "seed 0", "small version"):
            assert words in text
        plt.close(figure)


def test_the_parts_of_the_ledger_add_up_to_the_gap(records: list[Record]) -> None:
    """In units of the optimum above; below, areas from 0 to 1 in every column."""
    figure = dang2023.ledger(records)
    caption_of(figure)
    for column, record in enumerate(records):
        gap, *parts = (np.asarray(line.get_ydata(), dtype=float) for line in figure.axes[column].get_lines())
        assert np.array_equal(gap, record.metrics["gap"][1:])
        assert np.nansum(parts, axis=0) == pytest.approx(gap, rel=1e-9)
        epochs, shares = dang2023._shares(record.metrics[1:], list(dang2023.LEDGER))
        assert shares.sum(axis=0) == pytest.approx(1)
        assert shares[:, 0] * gap[0] * record.theory["objective"] == pytest.approx(
            record.metrics[list(dang2023.LEDGER)].iloc[1]
        )
        assert (epochs[0], epochs[-1]) == (1, 4)
        assert len(figure.axes[len(records) + column].collections) == len(parts)
    plt.close(figure)


def test_a_depth_keeps_its_colour_while_others_are_missing(records: list[Record]) -> None:
    assert panels.colour_of(records[1]) == "C1"
    alone, both = dang2023.imbalanced(records[1:]), dang2023.imbalanced(records)
    assert alone.axes[0].get_lines()[0].get_color() == both.axes[0].get_lines()[1].get_color() == "C1"
    plt.close("all")


def test_the_picture_of_one_run(records: list[Record]) -> None:
    """The proven optimum is a line in the loss panel."""
    figure = run_curves(records[0])
    optimum = figure.axes[0].get_lines()[1].get_ydata()
    assert list(optimum) == [records[0].theory["objective"]] * 2
    plt.close(figure)


DIRECT = ("model.width=6", "counts=[8,4,2,2]", "epochs=30")


def test_momentum_is_the_style_and_depth_the_colour(trained: Trained) -> None:
    """Solid with momentum, dash-dotted without; dots of the runs with momentum only."""
    runs = [
        *trained("dang2023/direct-imbalanced", *DIRECT, "head.depth=1", "optimizer.momentum=0.9"),
        *trained("dang2023/direct-imbalanced", *DIRECT, "head.depth=3", "optimizer.momentum=0.0"),
    ]
    figure = dang2023.direct_imbalanced(runs)
    lines = {line.get_color(): line for line in figure.axes[0].get_lines()}
    assert {colour: line.get_linestyle() for colour, line in lines.items()} == {"C0": "-", "C1": "-."}
    for line, run in zip(lines.values(), runs, strict=True):
        assert list(line.get_ydata()) == list(run.metrics["nc1"][1:])
        assert list(line.get_xdata()) == list(run.metrics["epoch"][1:])
    dots = figure.axes[4].get_lines()[1]
    assert list(dots.get_ydata()) == runs[0].metrics["class.weight_norm_sq"].iloc[-1]
    text = caption_of(figure)
    for words in (
        "Free features, dimension 6, 4 classes of 8, 4, 2, 2 samples; squared loss, all decays 0.0005, 30 iterations of"
        " gradient descent, momentum 0.9 or 0, learning rate 0.1, seed 0.",
        "The setting of Dang et al. 2023",
    ):
        assert words in text
    plt.close(dang2023.direct_imbalanced(runs[1:]))  # while others are missing
    plt.close(figure)


def test_rows_without_and_with_bias(trained: Trained) -> None:
    runs = [
        *trained("dang2023/direct-balanced", "model.width=6", "epochs=30", "counts=[4,4,4,4]", "head.depth=1"),
        *trained(
            "dang2023/direct-balanced",
            "model.width=6",
            "epochs=30",
            "counts=[4,4,4,4]",
            "head.depth=1",
            "head.bias=true",
        ),
    ]
    figure = dang2023.direct_balanced(runs)
    caption_of(figure)
    assert [figure.axes[i].get_ylabel() for i in (0, 5)] == [
        "no bias:\northogonal frame",
        "last-layer bias:\nsimplex ETF",
    ]
    for row, run in enumerate(runs):
        for column, key in enumerate(("nc1", "nc2_w", "nc2_h", "nc3", "gap")):
            (line,) = figure.axes[5 * row + column].get_lines()
            assert list(line.get_ydata()) == list(run.metrics[key][1:])
    alone = dang2023.direct_balanced(runs[1:])
    assert len(alone.axes) == 5
    plt.close("all")


@pytest.mark.parametrize("counts", ["[9,9,9]", "[20,9,4]"])
@pytest.mark.parametrize("bias", ["false", "true"])
def test_frames_have_the_predicted_and_the_measured_gram_matrices(trained: Trained, counts: str, bias: str) -> None:
    """Both up to the drawing's scale, and after alignment the learned vectors lie on the prediction."""
    (run,) = trained("dang2023/geometry-3d", f"counts={counts}", f"head.bias={bias}")
    assert run.measured is not None
    predicted, learned = dang2023.frames(run)
    for (weights, means), matrices in ((predicted, run.theory), (learned, run.measured)):
        scale = 1 / np.sqrt(max(np.diag(run.theory["weight_gram"])))
        mean_scale = dang2023.LONGEST_MEAN / np.sqrt(max(np.diag(run.theory["feature_gram"])))
        assert weights @ weights.T == pytest.approx(scale**2 * np.array(matrices["weight_gram"]), abs=1e-7)
        assert means @ means.T == pytest.approx(mean_scale**2 * np.array(matrices["feature_gram"]), abs=1e-7)
        assert weights @ means.T == pytest.approx(scale * mean_scale * np.array(matrices["logits"]), abs=1e-7)
    assert learned == pytest.approx(predicted, abs=1e-5)


def test_three_classes_in_space(trained: Trained) -> None:
    settings = [(counts, bias) for bias in ("true", "false") for counts in ("[20,9,4]", "[9,9,9]")]
    runs = [run for c, b in settings for run in trained("dang2023/geometry-3d", f"counts={c}", f"head.bias={b}")]
    figure = dang2023.geometry_3d(runs)
    assert [ax.get_title().split(":")[0] for ax in figure.axes] == [
        "balanced, no bias",
        "balanced, last-layer bias",
        "imbalanced, no bias",
        "imbalanced, last-layer bias",
    ]
    text = caption_of(figure)
    assert "3 classes of 9 samples or 3 classes of 20, 9, 4 samples" in text
    assert "L-BFGS" in text
    plt.close(dang2023.geometry_3d(runs[:1]))
    plt.close(figure)


DUFM = ("model.width=6", "counts=[4,4]", "epochs=40", "restarts=3")


def test_seeds_are_a_band(trained: Trained) -> None:
    """Line: the mean; band: from the smallest to the largest. A row for each depth."""
    deep, shallow = (trained("sukenik2023/dufm", *DUFM, f"head.depth={depth}") for depth in (4, 3))
    assert len(deep) == len(shallow) == 3
    figure = layers.deep_collapse([*deep, *shallow])
    assert [figure.axes[i].get_ylabel() for i in (0, 5)] == ["L = 3", "L = 4"]
    loss = figure.axes[0].get_lines()[0]
    values = np.array([run.metrics["loss"][1:] for run in shallow])
    assert np.asarray(loss.get_ydata()) == pytest.approx(values.mean(axis=0))
    corners = figure.axes[0].collections[0].get_paths()[0].vertices
    assert (corners[:, 1].min(), corners[:, 1].max()) == pytest.approx((values.min(), values.max()))
    optimum = figure.axes[0].get_lines()[1]
    assert list(optimum.get_ydata()) == [shallow[0].theory["objective"]] * 2
    styles = [[line.get_linestyle() for line in figure.axes[i].get_lines()] for i in (6, 7, 8)]
    assert styles == [["-"] * 4, [":", "-", "-", "-"], [":", "-", "-", "-"]]
    text = caption_of(figure)
    for words in ("under a ReLU head", "2 classes of 4 samples", "seeds 0 to 2", "reconstruction", "band: smallest"):
        assert words in text
    plt.close(layers.deep_collapse(shallow))
    plt.close(figure)


def test_curves_of_free_features_have_margins(trained: Trained) -> None:
    """There is no test split; measured margins are solid, predicted ones dashed."""
    (run,) = trained("dang2023/direct-imbalanced", *DIRECT, "head.depth=1", "optimizer.momentum=0.9")
    figure = run_curves(run)
    caption_of(figure)
    panel = figure.axes[1]
    assert (panel.get_title(), panel.get_xlabel()) == ("margin of each class", "iteration")
    for k, (measured, predicted) in enumerate(zip(panel.get_lines()[0:8:2], panel.get_lines()[1:8:2], strict=True)):
        assert list(measured.get_ydata()) == [row[k] for row in run.metrics["class.margin"][1:]]
        assert list(predicted.get_ydata()) == [run.theory["classes"][k]["margin"]] * 2
    for other in trained("sukenik2023/dufm", *DUFM, "head.depth=3")[:1]:
        caption_of(run_curves(other))
    plt.close("all")


def test_curves_of_a_path_run_over_the_factor(trained: Trained) -> None:
    """A rising and a falling piece meet at the turning point; dashed: the optimum at each factor."""
    path = [0.5, 1.0, 4.0, 40.0, 4.0, 1.0]
    (run,) = trained("dang2023/hysteresis", f"path={path}".replace(" ", ""), "counts=[20,9,4]", "head.depth=2")
    figure = run_curves(run)
    caption_of(figure)
    up, down, optimum = figure.axes[0].get_lines()[:3]
    assert list(up.get_xdata()) == path[:4]
    assert list(down.get_xdata()) == path[3:]
    assert (up.get_linestyle(), down.get_linestyle()) == ("-", "-.")
    at = dict(zip(optimum.get_xdata(), optimum.get_ydata(), strict=True))
    assert at[1.0] == pytest.approx(run.theory["objective"])
    assert at[0.5] == pytest.approx(up.get_ydata()[0], rel=1e-6)
    plt.close(figure)


def test_every_figure_is_an_experiment_or_theory() -> None:
    assert set(FIGURES) <= set(group_options("experiment"))
    assert set(CORE) <= {*FIGURES, *THEORY}
    assert all("" in drawings for drawings in FIGURES.values())


def test_figures_do_not_import_torch() -> None:
    code = "import sys, ncrun.figures.command, ncrun.figures.curves; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_redrawing_gives_the_same_bytes(
    records: list[Record], folder: Path, ncrun: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawings = {"": dang2023.imbalanced, "-angles": classes.angles}  # one with rasters in its PDF
    monkeypatch.setitem(FIGURES, "dang2023/mlp-imbalanced", drawings)
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
    monkeypatch.setitem(FIGURES, "dang2023/mlp-balanced", {"": convergence.convergence})  # the others cost seconds
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


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    from ncrun.errors import UserError

    with pytest.raises(UserError, match="is not a run directory"):
        load_record(tmp_path)


def test_a_record_that_lacks_an_entry(records: list[Record], refused: Refused, workdir: Path) -> None:
    shutil.copytree(records[0].path, workdir / "damaged")
    path = workdir / "damaged" / "config.yaml"
    path.write_text(path.read_text().replace("  bias: false\n", ""))
    line = refused("figures", "dang2023/mlp-imbalanced", "--from", "damaged")
    assert line.startswith("damaged/config.yaml: is not what a run writes: head.bias")
