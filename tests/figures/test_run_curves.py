"""curves.png of one run."""

from dataclasses import replace

import pytest
from figure_runs import DIRECT, DUFM, Runs, caption_of, curves_of, panel, panels_in
from matplotlib import pyplot as plt

from ncrun.figures.curves import run_curves

pytestmark = pytest.mark.usefixtures("closed")


def test_the_picture_of_one_run(runs: Runs) -> None:
    """The proven optimum is a line in the loss panel."""
    (run,) = runs("M1-0")
    figure = run_curves(run)
    optimum = figure.axes[0].get_lines()[1].get_ydata()
    assert list(optimum) == [run.theory["objective"]] * 2
    plt.close(figure)


def test_the_start_has_a_place_left_of_the_first_epoch(runs: Runs) -> None:
    """Every panel is linear from 0 to 1, and shows the row of epoch 0."""
    (run,) = runs("M1-0")
    figure = run_curves(run)
    figure.canvas.draw()
    for ax in panels_in(figure):
        assert ax.get_xscale() == "symlog"
        assert ax.xaxis.get_transform().linthresh == 1
        assert [label.get_text() for label in ax.get_xticklabels()[:2]] == ["0", "1"]
    loss = figure.axes[0].get_lines()[0]
    assert (loss.get_xdata()[0], loss.get_ydata()[0]) == (0, run.metrics["loss"][0])
    plt.close(figure)


def test_a_run_that_is_measured_at_its_end_alone_is_drawn(runs: Runs) -> None:
    """Its one time is the one number on the axis, beside the start."""
    (run,) = runs("M1-0")
    ends = replace(run, metrics=run.metrics.iloc[[0, 3]].assign(epoch=[0, 53]))
    figure = run_curves(ends)
    figure.canvas.draw()
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["0", "53"]
    plt.close(figure)


def test_a_network_has_panels_of_its_classes(runs: Runs) -> None:
    """Margins with the predicted ones dashed, and test accuracies; ten classes are coloured by their size."""
    (run,) = runs("M1-0")
    figure = run_curves(run)
    caption_of(figure)
    margins, accuracies = panel(figure, "margin of each class"), panel(figure, "test accuracy of each class")
    for k in range(10):
        measured, predicted = margins.get_lines()[2 * k : 2 * k + 2]
        assert list(measured.get_ydata()) == [row[k] for row in run.metrics["class.margin"]]
        assert list(predicted.get_ydata()) == [run.theory["classes"][k]["margin"]] * 2
        assert list(accuracies.get_lines()[k].get_ydata()) == [row[k] for row in run.metrics["class.test_accuracy"]]
    assert len({line.get_color() for line in curves_of(accuracies)}) == 10
    plt.close(figure)


def test_curves_of_free_features_have_margins(runs: Runs) -> None:
    """There is no test split; measured margins are solid, predicted ones dashed."""
    (run,) = runs.of("dang2023/direct-imbalanced", *DIRECT, "head.depth=1", "optimizer.momentum=0.9")
    figure = run_curves(run)
    caption_of(figure)
    margins = figure.axes[1]
    assert (margins.get_title(), margins.get_xlabel()) == ("margin of each class", "iteration")
    for k, (measured, predicted) in enumerate(zip(margins.get_lines()[0:8:2], margins.get_lines()[1:8:2], strict=True)):
        assert list(measured.get_ydata()) == [row[k] for row in run.metrics["class.margin"]]
        assert list(predicted.get_ydata()) == [run.theory["classes"][k]["margin"]] * 2
    for other in runs.of("sukenik2023/dufm", *DUFM, "head.depth=3")[:1]:
        caption_of(run_curves(other))
    plt.close("all")


def test_curves_of_a_path_run_over_the_factor(runs: Runs) -> None:
    """A rising and a falling piece meet at the turning point; dashed: the optimum at each factor."""
    path = [0.5, 1.0, 4.0, 40.0, 4.0, 1.0]
    (run,) = runs.of("dang2023/hysteresis", f"path={path}".replace(" ", ""), "counts=[20,9,4]", "head.depth=2")
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
