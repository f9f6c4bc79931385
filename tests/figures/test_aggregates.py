"""Aggregates over seeds: the interquartile mean and its stratified bootstrap, and the drawing of both."""

from itertools import product

import numpy as np
import pytest
from figure_runs import Runs, caption_of, panel, with_metrics

from ncrun.figures import DRAWINGS
from ncrun.figures.intervals import interquartile_mean, of_logarithms
from ncrun.records.read import Record

pytestmark = pytest.mark.usefixtures("closed")


def test_the_interquartile_mean_of_known_values() -> None:
    """The middle four of eight; of three values nothing is a whole quarter."""
    assert interquartile_mean(np.array([100.0, 1, 2, 3, 4, 5, 6, -100])) == pytest.approx(3.5, rel=1e-15)
    assert interquartile_mean(np.array([1.0, 2.0, 6.0])) == pytest.approx(3.0, rel=1e-15)


def test_an_interval_is_that_of_all_resamples() -> None:
    """Two settings of three seeds: every one of the 27 x 27 ways to draw them anew, each setting by itself, and the
    quantiles of their means. 2,000 draws of these miss a quantile by a few of its neighbours: within 6 % of the whole
    span, where without strata the interval is twice as wide."""
    strata = [np.array([1.0, 2.0, 4.0]), np.array([100.0, 150.0, 400.0])]
    found = of_logarithms(strata)
    logs = [np.log(each) for each in strata]
    drawn = [np.concatenate([[a[i] for i in x], [b[i] for i in y]]) for a, b in [logs] for x, y in _draws(3)]
    exact = [np.sort(each)[1:-1].mean() for each in drawn]  # six values: a quarter is one whole value
    low, high = np.quantile(exact, [0.025, 0.975])
    span = max(exact) - min(exact)
    assert np.log(found.centre) == pytest.approx(np.sort(np.concatenate(logs))[1:-1].mean(), rel=1e-12)
    assert np.log(found.low) == pytest.approx(low, abs=0.06 * span)
    assert np.log(found.high) == pytest.approx(high, abs=0.06 * span)
    again = of_logarithms(strata)
    assert (again.low, again.high) == (found.low, found.high)


def _draws(number: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    one = list(product(range(number), repeat=number))
    return list(product(one, one))


def test_nothing_is_made_of_what_is_not_known() -> None:
    """Over epochs, each by itself."""
    values = np.array([[1.0, np.nan], [2.0, 3.0], [4.0, 5.0]])
    found = of_logarithms([values])
    assert found.centre[0] == pytest.approx(2.0, rel=1e-12)
    assert np.isnan([found.centre[1], found.low[1], found.high[1]]).all()


def test_settings_are_lines_and_the_last_is_of_all(all_imbalanced: list[Record], runs: Runs) -> None:
    figure = DRAWINGS["aggregates"].draw(all_imbalanced)
    ends = {
        "distance to the prediction": [
            max(r.metrics[key].iloc[-1] for key in ("nc2_w", "nc2_h", "nc3")) for r in all_imbalanced
        ],
        "loss / optimum − 1": [r.metrics["loss"].iloc[-1] / r.theory["objective"] - 1 for r in all_imbalanced],
        "NC1": [r.metrics["nc1"].iloc[-1] for r in all_imbalanced],
    }
    for title, values in ends.items():
        lines = panel(figure, title).get_lines()
        seeds = [line for line in lines if line.get_marker() == "|"]
        assert [x for line in seeds for x in line.get_xdata()] == pytest.approx(values, rel=1e-9)
        dots = {line.get_ydata()[0]: line.get_xdata()[0] for line in lines if line.get_marker() in "osD"}
        bars = {line.get_ydata()[0]: line.get_xdata() for line in lines if len(line.get_xdata()) == 2}
        for place, own in ((0, values[:3]), (1, values[3:])):
            assert dots[place] == pytest.approx(np.exp(np.log(own).mean()), rel=1e-9)
            assert min(own) * (1 - 1e-9) <= bars[place][0] <= dots[place] <= bars[place][1] <= max(own) * (1 + 1e-9)
        assert dots[2] == pytest.approx(np.exp(np.sort(np.log(values))[1:-1].mean()), rel=1e-9)
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == ["M = 1", "M = 3", "all together"]
    below = figure.axes[5].get_lines()
    nc1 = np.array([run.metrics["nc1"][1:] for run in all_imbalanced])
    np.testing.assert_allclose(below[1].get_ydata(), np.exp(np.log(nc1[3:]).mean(axis=0)), rtol=1e-12)
    assert "2,000 resamples" in caption_of(figure)


def test_two_seeds_have_no_interval(runs: Runs) -> None:
    records = runs("M1-0", "M1-1")
    figure = DRAWINGS["aggregates"].draw(records)
    assert len(figure.axes) == 3
    assert all(line.get_marker() == "|" for ax in figure.axes for line in ax.get_lines())
    assert "Fewer than 3 seeds have no interval" in caption_of(figure)
    no_claim = [with_metrics(run, gap=[None] * 7) for run in records]
    assert [ax.get_title() for ax in DRAWINGS["aggregates"].draw(no_claim).axes] == [
        "distance to the prediction",
        "NC1",
    ]
