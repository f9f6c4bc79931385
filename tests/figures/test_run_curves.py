"""curves.png of one run."""

import pytest
from figure_runs import DIRECT, DUFM, Runs, caption_of
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


def test_curves_of_free_features_have_margins(runs: Runs) -> None:
    """There is no test split; measured margins are solid, predicted ones dashed."""
    (run,) = runs.of("dang2023/direct-imbalanced", *DIRECT, "head.depth=1", "optimizer.momentum=0.9")
    figure = run_curves(run)
    caption_of(figure)
    panel = figure.axes[1]
    assert (panel.get_title(), panel.get_xlabel()) == ("margin of each class", "iteration")
    for k, (measured, predicted) in enumerate(zip(panel.get_lines()[0:8:2], panel.get_lines()[1:8:2], strict=True)):
        assert list(measured.get_ydata()) == [row[k] for row in run.metrics["class.margin"][1:]]
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
