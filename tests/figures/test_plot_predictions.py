"""What theory says beside users' own runs: `ncrun plot` with predictions and baselines, and kind= of the drawings."""

import json
import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conftest import Command
from figure_runs import Runs, caption_of, curves_of, panel
from matplotlib.colors import to_hex

from ncrun.errors import UserError
from ncrun.figures import arrangement, minority
from ncrun.figures.plot import plot_runs
from ncrun.figures.plot_lines import Request
from ncrun.figures.plot_predictions import prediction_of
from ncrun.records.read import Record

pytestmark = pytest.mark.usefixtures("closed")


def with_config(record: Record, **changes: Any) -> Record:
    return replace(record, config=record.config | changes)


def dashed(ax: Any) -> list[Any]:
    return [line for line in curves_of(ax) if line.get_linestyle() == "--"]


def dotted(ax: Any) -> list[Any]:
    return [line for line in curves_of(ax) if line.get_linestyle() == ":"]


def test_over_time_predictions_are_dashed_and_baselines_dotted(all_imbalanced: list[Record]) -> None:
    figure = plot_runs(all_imbalanced, Request(y=("loss", "nc3", "class.margin")), lambda line: None)
    caption_of(figure)
    loss, nc3, margins = figure.axes[:3]
    by_depth = {r.config["head"]["depth"]: r for r in all_imbalanced}
    assert [list(line.get_ydata()) for line in dashed(loss)] == [[by_depth[M].theory["objective"]] * 2 for M in (1, 3)]
    for line, M in zip(dotted(nc3), (1, 3), strict=True):
        own = [r.metrics["balanced.nc3"] for r in all_imbalanced if r.config["head"]["depth"] == M]
        assert line.get_ydata() == pytest.approx(np.median(own, axis=0), rel=1e-14)
    assert not dashed(nc3)  # a distance to the prediction has none
    predicted = [entry["margin"] for entry in by_depth[1].theory["classes"]]
    assert [line.get_ydata()[0] for line in dashed(margins)] == predicted
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert {"predicted", "to the balanced prediction"} <= set(words)


def test_over_a_key_the_predictions_are_a_line(all_imbalanced: list[Record]) -> None:
    (ax,) = plot_runs(all_imbalanced, Request(y=("loss",), x="head.depth"), lambda line: None).axes
    (line,) = dashed(ax)
    expected = {r.config["head"]["depth"]: r.theory["objective"] for r in all_imbalanced}
    assert dict(zip(line.get_xdata(), line.get_ydata(), strict=True)) == expected


def test_what_is_not_predicted_has_no_line(runs: Runs) -> None:
    """Of plain weight decay the shape alone; of a path of decays no one value; of equal counts no other baseline."""
    (shapes,), (run,) = runs("parameters"), runs("M1-0")
    assert np.isnan(prediction_of(shapes, "loss"))
    assert np.isnan(prediction_of(shapes, "class.margin", 0))
    assert prediction_of(shapes, "duality") > 0
    assert prediction_of(run, "nc1_rank") == run.theory["mean_rank"]
    path = replace(run, metrics=run.metrics.assign(factor=1.0))
    assert np.isnan(prediction_of(path, "loss"))
    equal = replace(run, manifest=run.manifest | {"class_counts": [5] * 10})
    (ax,) = plot_runs([equal], Request(y=("nc3",)), lambda line: None).axes
    assert not dotted(ax)


def test_along_a_path_of_decays_the_prediction_changes(runs: Runs) -> None:
    path = [0.5, 1.0, 4.0, 40.0, 4.0, 1.0]
    (run,) = runs.of("dang2023/hysteresis", f"path={path}".replace(" ", ""), "counts=[20,9,4]", "head.depth=2")
    loss, margins = plot_runs([run], Request(y=("loss", "class.margin"), x="factor"), lambda line: None).axes
    (line,) = dashed(loss)
    assert list(line.get_xdata()) == [0.5, 1.0, 4.0, 40.0]
    assert line.get_ydata()[1] == pytest.approx(run.theory["objective"], rel=1e-14)
    at_one = [line.get_ydata()[1] for line in dashed(margins)]
    assert at_one == pytest.approx([entry["margin"] for entry in run.theory["classes"]], rel=1e-14)


@pytest.mark.parametrize("kind", ["classes", "collapse"])
def test_kind_draws_any_run(kind: str, runs: Runs, ncrun: Command) -> None:
    (run,) = runs("ce")
    result = ncrun("plot", str(run.path), f"kind={kind}", "out=own.png")
    assert (result.status, result.out, result.err) == (0, "own.png, own.pdf\n", "")


def test_kind_leaves_unfinished_runs_out(runs: Runs, ncrun: Command, tmp_path: Any) -> None:
    (run,) = runs("M1-0")
    shutil.copytree(run.path, tmp_path / "all" / "done")
    shutil.copytree(run.path, tmp_path / "all" / "stopped")
    manifest = tmp_path / "all" / "stopped" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"state": "interrupted"}))
    result = ncrun("plot", str(tmp_path / "all"), "kind=classes")
    assert result.status == 0
    assert "stopped: is not finished (interrupted); skipped" in result.err


def test_decays_that_no_facet_tells_apart_are_told_apart(all_imbalanced: list[Record]) -> None:
    """A sweep over depth and decay: depths are colours, decays rows; of decays alone they are the colours."""
    strong = [with_config(r, decay=r.config["decay"] | {"weight": 0.005}) for r in all_imbalanced]
    rows = arrangement.arrange([*all_imbalanced, *strong])
    assert [row.label for row in rows] == ["decay.weight=0.0005", "decay.weight=0.005"]
    assert [[curve.label for curve in row.curves] for row in rows] == [["M = 1", "M = 3"]] * 2
    (row,) = arrangement.arrange([all_imbalanced[0], strong[0]])
    assert [curve.label for curve in row.curves] == ["decay.weight=0.0005", "decay.weight=0.005"]
    assert len({curve.colour for curve in row.curves}) == 2
    ends, weights = (all_imbalanced[0], all_imbalanced[-1]), np.geomspace(1e-4, 1, 13).tolist()
    many = [with_config(r, decay=r.config["decay"] | {"weight": weight}) for weight in weights for r in ends]
    with pytest.raises(UserError, match="these runs make 13 rows of panels, but only 12 fit on a page"):
        arrangement.arrange(many)


def test_margins_over_the_decay_in_units_of_the_border(runs: Runs) -> None:
    """Free features whose rarest class theory loses: it stands right of 1, at a margin of nothing, measured as
    predicted."""
    (run,) = runs.train("model=ufm_relu", "counts=[50,30,2,1]", "decay.weight=2e-2", "decay.feature=6e-3")
    figure = minority.collapse([run])
    assert "minority collapse" in caption_of(figure)
    ax = panel(figure, "margins at the end")
    predicted, measured = ax.get_lines()[:2]
    borders = [entry["decay_to_collapse"] for entry in run.theory["classes"]]
    assert list(measured.get_xdata()) == pytest.approx([1 / border for border in borders], rel=1e-14)
    assert measured.get_xdata()[3] > 1 > measured.get_xdata()[2]
    assert list(measured.get_ydata()) == pytest.approx(
        list(predicted.get_ydata()), abs=1e-5
    )  # to its gradient tolerance
    assert to_hex(measured.get_color()) == "#0072b2"
    rarest = panel(figure, "margin of the rarest class").get_lines()[0]
    assert list(rarest.get_ydata()) == [row[3] for row in run.metrics["class.margin"]][1:]
