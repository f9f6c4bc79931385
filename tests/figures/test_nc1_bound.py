"""NC1 under plain weight decay: below its bound at every epoch of real trainings, and drawn beside it."""

import pytest
from figure_runs import Runs, curves_of, panel
from matplotlib import pyplot as plt

from ncrun.figures.curves import run_curves
from ncrun.figures.plot import plot_runs
from ncrun.figures.plot_lines import Request

pytestmark = pytest.mark.usefixtures("closed")

PLAIN = ("model.depth=2", "model.width=24", "counts=[30,30,30,20,20,20,10,10,10,10]", "threads=1", "batch_size=32")
PLAIN = (*PLAIN, "decay.mode=parameters", "decay.weight=2e-3", "optimizer.lr=3e-3")
HEADS = {
    "squared loss": ("head.depth=2", "epochs=20"),
    "deeper, with a bias": ("head.depth=3", "head.bias=true", "epochs=20"),
    "cross-entropy": ("head.depth=2", "head.bias=true", "loss=ce", "epochs=20"),
    "of lower rank than classes": ("head.depth=2", "head.width=5", "epochs=20"),
}


@pytest.mark.parametrize("head", HEADS)
def test_nc1_stays_below_its_bound(head: str, runs: Runs) -> None:
    """From the initialisation on. 1e-6: the deviations go through the head's layers in float32."""
    (run,) = runs.train(*PLAIN, *HEADS[head])
    assert run.metrics["epoch"][0] == 0
    for key in ("nc1_trace", "nc1"):
        nc1, bound = run.metrics[f"head.{run.config['head']['depth']}.{key}"], run.metrics[f"{key}_bound"]
        assert bound.notna().all()
        assert (nc1 <= bound * (1 + 1e-6)).all()
    assert head != "squared loss" or bound.iloc[-1] < bound.iloc[0] / 3  # a fitted network shrinks it
    assert f"{bound.iloc[-1] / nc1.iloc[-1]:.2g} times below its proven bound" in run.manifest["summary"]


def test_the_bound_is_drawn_beside_what_it_bounds(runs: Runs) -> None:
    (run,) = runs.train(*PLAIN, *HEADS["squared loss"])
    measured, bound = panel(run_curves(run), "NC1: within-class spread").get_lines()[2:4]
    assert list(measured.get_ydata()) == list(run.metrics["head.2.nc1"])
    assert list(bound.get_ydata()) == list(run.metrics["nc1_bound"])
    figure = plot_runs([run], Request(y=("head.2.nc1", "nc1")), lambda line: None)
    (dashed,) = (line for ax in figure.axes for line in curves_of(ax) if line.get_linestyle() == "--")
    assert list(dashed.get_ydata()) == list(run.metrics["nc1_bound"])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "its proven bound",
        "learning rate × 0.1",
    ]
    plt.close("all")
