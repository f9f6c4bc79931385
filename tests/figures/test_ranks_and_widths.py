"""Ranks layer by layer, and restarts over the width: whole numbers stay whole, and what is lost is counted."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from figure_runs import Runs, caption_of, curves_of, legend_of, panel, stored, with_metrics
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex

from ncrun.figures import ranks, width_ablation
from ncrun.figures.layers import layer_looks
from ncrun.metrics.effective import num_effective

pytestmark = pytest.mark.usefixtures("closed")


def test_a_rank_is_the_same_number_of_a_tensor_and_of_an_array() -> None:
    """Above a thousandth of the largest, and before the first gap of thirty."""
    for values, expected in (([1, 0.9, 0.5], 3), ([1, 0.9, 0.02, 0.01], 2), ([1, 0.1, 5e-3, 6e-4], 3), ([0, 0], 0)):
        assert num_effective(torch.tensor(values)) == num_effective(np.array(values)) == expected


def test_every_seed_is_a_line_of_whole_numbers(runs: Runs) -> None:
    """Set apart by layer; singular values of every seed beside the predicted ones."""
    records = runs("M3-0", "M3-1")
    figure = ranks.ranks(records)
    over_time, singular = figure.axes
    lines = [line for line in curves_of(over_time) if not line.is_dashed()]
    assert len(lines) == 3 * 2
    shifts = []
    for place, line in enumerate(lines):
        layer, seed = divmod(place, 2)
        shift = np.asarray(line.get_ydata()) - records[seed].metrics[f"head.{layer + 1}.rank"][1:].to_numpy()
        assert np.ptp(shift) < 1e-12  # one for the whole line
        shifts.append(shift[0])
        assert line.get_drawstyle() == "steps-post"
    assert shifts[::2] == shifts[1::2]
    assert shifts[0] < shifts[2] < shifts[4] < shifts[0] + 1  # less than a rank
    (predicted,) = (line for line in curves_of(over_time) if line.is_dashed())
    assert list(predicted.get_ydata()) == [10, 10]  # without a bias the frame has all ten
    assert records[0].measured is not None
    recorded = np.array(records[0].measured["singular_values"]["head.1"])
    first, *_, marks = singular.get_lines()
    assert np.array_equal(first.get_ydata(), np.clip(recorded / recorded[0], ranks.FLOOR, None))
    expected = np.linalg.svd(np.linalg.cholesky(np.array(records[0].theory["feature_gram"])))[1]
    assert marks.get_ydata() == pytest.approx(expected / expected[0])
    caption_of(figure)
    shorn = [replace(run, measured=None) for run in records]
    assert len(ranks.ranks(shorn).axes) == 1


def test_ranks_agree_with_the_text_of_a_refutation() -> None:
    """results/README.md, scale real: class means of rank 9 with one layer, 3 with three, where a simplex has 9. Earlier
    records counted 9 over training, as these are made to; the caption says so."""
    of_seed_0 = [run for run in stored("dang2023-real", "cross-entropy-balanced") if run.config["seed"] == 0]
    shallow, deep = ([run for run in of_seed_0 if run.config["head"]["depth"] == depth] for depth in (1, 3))
    nines = {f"head.{layer}.rank": [9] * len(deep[0].metrics) for layer in (1, 2, 3)}
    records = [*shallow, *(with_metrics(run, **nines) for run in deep)]
    figure = ranks.ranks(records)
    dots = [line for line in panel(figure, "M = 3").get_lines() if line.get_gid() == "again"]
    assert {round(float(line.get_ydata()[0])) for line in dots} == {3}
    assert len(dots) == 3
    assert not [line for line in panel(figure, "M = 1").get_lines() if line.get_gid() == "again"]
    for title in ("M = 1", "M = 3"):
        (predicted,) = (line for line in curves_of(panel(figure, title)) if line.is_dashed())
        assert list(predicted.get_ydata()) == [9, 9]
    assert {"predicted rank", "rank by today's rule"} <= set(legend_of(figure))
    assert "the current rule stops at the first gap of 30, these records did not" in caption_of(figure)
    assert to_hex(dots[0].get_color()) == to_hex(layer_looks(["head.1", "head.2", "head.3"])["head.1"]["color"])
    plt.close(figure)


def test_restarts_that_lost_a_class_count_in_every_panel() -> None:
    """The stored runs: with six layers and width 4 four of five restarts end with a class lost, at .25 or .5."""
    records = [r for r in stored("sukenik2023-paper", "dufm-width") if r.config["model"]["width"] in (4, 8)]
    lost = [r for r in records if r.metrics["loss"].iloc[-1] > 0.2]
    assert [(r.config["head"]["depth"], r.config["model"]["width"]) for r in lost] == [(6, 4)] * 4 + [(6, 8)]
    assert [r for r in records if width_ablation.has_lost(r)] == lost
    figure = width_ablation.width_ablation(records)
    wide = [r for r in records if (r.config["head"]["depth"], r.config["model"]["width"]) == (6, 8)]
    for ax in (ax for ax in figure.axes if ax.get_title().startswith("DNC")):
        assert [(text.get_position()[0], text.get_text().strip()) for text in ax.texts] == [(4, "4"), (8, "1")]
        deep = [line for line in ax.get_lines() if len(line.get_xdata()) == 2][-1]
        values = dict(zip(deep.get_xdata(), deep.get_ydata(), strict=True))
        assert np.isnan(values[4])  # the median restart has no collapse
        key = {"DNC1": "nc1_trace", "DNC2": "dnc2", "DNC3": "dnc3"}[ax.get_title().split(":")[0]]
        measured = sorted(r.metrics[f"head.6.{key}"].iloc[-1] - (key == "dnc2") for r in wide if r not in lost)
        assert values[8] == measured[2]  # the third of five, the lost one being the last
        one = [line for line in ax.get_lines() if line.get_alpha() == 0.5 and list(line.get_xdata()) == [4]]
        assert len(one) == 5 + 1
    gaps = panel(figure, "loss / optimum − 1").get_lines()
    assert len([line for line in gaps if line.get_marker() == "x"]) == 5
    _, _, at_goal, kept_share = panel(figure, "share of restarts").get_lines()
    assert list(at_goal.get_ydata()) == [0, 0]
    assert list(kept_share.get_ydata()) == [0.2, 0.8]
    words = caption_of(figure)
    assert "No restart is at the optimum." in words
    assert (
        "Not converged at the end (an expected further decrease of more than 1e-05 of the loss): 18 of 20 runs" in words
    )
    assert "restarts that lost a class, and how many" in legend_of(figure)
