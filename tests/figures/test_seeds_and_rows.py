"""Curves over training and their arrangement: seeds are bands, what else differs is a colour or a row."""

from dataclasses import replace

import numpy as np
import pytest
from figure_runs import Runs, caption_of, curves_of, panel, with_metrics
from matplotlib import pyplot as plt

from ncrun.figures import arrangement, convergence, panels
from ncrun.records.read import Record

pytestmark = pytest.mark.usefixtures("closed")


def test_line_is_the_median_and_band_the_extremes_over_seeds(seeds: list[Record]) -> None:
    figure = convergence.convergence(seeds)
    ax = panel(figure, "NC2(W)")
    values = np.array([run.metrics["nc2_w"][1:] for run in seeds])
    solid, dotted = ax.get_lines()[:2]
    assert np.array_equal(solid.get_ydata(), np.median(values, axis=0))
    assert list(solid.get_xdata()) == list(seeds[0].metrics["epoch"][1:])
    baseline = np.array([run.metrics["balanced.nc2_w"][1:] for run in seeds])
    assert np.array_equal(dotted.get_ydata(), np.median(baseline, axis=0))
    assert dotted.get_linestyle() == ":"
    corners = ax.collections[0].get_paths()[0].vertices
    for column, epoch in enumerate(seeds[0].metrics["epoch"][1:]):
        here = corners[corners[:, 0] == epoch, 1]
        assert (here.min(), here.max()) == (values[:, column].min(), values[:, column].max())
    assert "band: smallest to largest" in caption_of(figure)
    assert "seeds 0 to 2" in caption_of(figure)


def test_one_seed_has_no_band(seeds: list[Record]) -> None:
    figure = convergence.convergence(seeds[:1])
    assert not panel(figure, "NC2(W)").collections
    assert "band" not in caption_of(figure)


def test_a_seed_that_ended_early_and_one_without_values(seeds: list[Record]) -> None:
    """The median is over all seeds or not drawn; what single seeds have beyond is drawn thinly, and is theirs."""
    short = replace(seeds[0], metrics=seeds[0].metrics.iloc[:4])  # epochs 0 to 3
    gap = with_metrics(
        seeds[1], nc1=[None if epoch == 2 else value for epoch, value in seeds[1].metrics["nc1"].items()]
    )
    whole = seeds[2]
    epochs, values, single = panels.seed_values([short, gap, whole], "nc1")
    assert list(epochs) == [1, 2, 3]
    assert np.isnan(values[:, 1]).all()
    assert values[2, [0, 2]] == pytest.approx(list(whole.metrics["nc1"].iloc[[1, 3]]), rel=0)
    (own, rest) = single[-1]
    assert dict(zip(own, rest, strict=True))[6] == whole.metrics["nc1"].iloc[6]
    # From the last shared epoch on, so that the line does not break, and where another seed has no value.
    assert list(own[np.isfinite(rest)]) == [2, 3, 4, 5, 6]
    figure, ax = plt.subplots()
    panels.band(ax, [short, gap, whole], "nc1")
    assert len(ax.get_lines()) == 1 + len(single)
    caption_of(convergence.convergence([short, gap, whole]))
    assert figure


def test_seeds_without_a_common_epoch(seeds: list[Record]) -> None:
    first = replace(seeds[0], metrics=seeds[0].metrics.iloc[:3])
    second = replace(seeds[1], metrics=seeds[1].metrics.iloc[3:])
    epochs, _, single = panels.seed_values([first, second], "nc1")
    assert len(epochs) == 0
    assert [list(own[np.isfinite(rest)]) for own, rest in single] == [[1, 2], [3, 4, 5, 6]]


def test_zero_error_is_marked_at_the_slowest_seeds_epoch(seeds: list[Record]) -> None:
    accuracies = ([0, 0.5, 1, 0.9, 1, 1, 1], [0, 0.5, 0.5, 0.9, 1, 1, 1], [0, 1, 1, 1, 1, 1, 1])
    marked = [with_metrics(run, train_accuracy=a) for run, a in zip(seeds, accuracies, strict=True)]
    (curve,) = arrangement.arrange(marked)[0].curves
    assert convergence.zero_error_epoch(curve) == 4
    figure = convergence.convergence(marked)
    diamond = curves_of(panel(figure, "NC1"))[-1]
    assert diamond.get_marker() == convergence.MARK["marker"]
    assert list(diamond.get_xdata()) == [4]
    assert diamond.get_ydata()[0] == np.median([run.metrics["nc1"].iloc[4] for run in marked])
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "zero training error (slowest seed)" in words
    (alone,) = convergence.zero_error_handles(arrangement.arrange(marked[:1])[0].curves)
    assert alone.get_label() == "zero training error"
    never = [with_metrics(marked[0], train_accuracy=[0.5] * 7), *marked[1:]]
    assert convergence.zero_error_epoch(arrangement.arrange(never)[0].curves[0]) is None
    # An accuracy of one at the start is before training.
    start = [with_metrics(run, train_accuracy=[1, 0, 0, 0, 0, 0, 0]) for run in seeds]
    assert convergence.zero_error_epoch(arrangement.arrange(start)[0].curves[0]) is None


def test_depth_colours_and_everything_else_makes_rows(all_imbalanced: list[Record], runs: Runs) -> None:
    (row,) = arrangement.arrange(all_imbalanced)
    assert [(curve.label, curve.colour, len(curve.records)) for curve in row.curves] == [
        ("M = 1", "C0", 3),
        ("M = 3", "C1", 3),
    ]
    both = [*all_imbalanced, *runs("parameters")]
    assert [row.label for row in arrangement.arrange(both)] == ["decay of features", "decay of parameters"]
    # A data set with its own class counts differs in one thing, not in two.
    other = [
        replace(run, manifest=run.manifest | {"dataset": "svhn", "words": {}, "class_counts": [9, 1]})
        for run in all_imbalanced
    ]
    assert [row.label for row in arrangement.arrange([*all_imbalanced, *other])] == ["digits", "SVHN"]
    alone = [run for run in [*all_imbalanced, *other] if run.config["head"]["depth"] == 1]
    (row,) = arrangement.arrange(alone)
    assert [curve.label for curve in row.curves] == ["digits", "SVHN"]


def test_records_that_lack_a_key_belong_to_their_seeds(seeds: list[Record]) -> None:
    """Configurations of an older version have fewer keys."""
    old = replace(seeds[0], config={key: value for key, value in seeds[0].config.items() if key != "taps"})
    assert len(arrangement.arrange([old, *seeds[1:]])[0].curves) == 1
