"""What is drawn is told apart without colour, and said in the field's words on axes with one kind of number."""

from dataclasses import replace

import numpy as np
import pytest
from figure_runs import curves_of, panel
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from ncrun.figures import arrangement, convergence, looks, panels, regions, ticks
from ncrun.figures.curves import run_curves
from ncrun.metrics import METRICS
from ncrun.records.read import Record

pytestmark = pytest.mark.usefixtures("closed")


def grey(colour: object) -> float:
    """Its luminance, from 0 to 1, as a picture in grey has it (ITU-R BT.601)."""
    return float(np.dot(to_rgb(colour), (0.299, 0.587, 0.114)))  # type: ignore[arg-type]


def test_depths_have_markers_in_few_places(all_imbalanced: list[Record]) -> None:
    """The same in every panel and in the legend, of the baseline hollow; no two depths at the same epochs."""
    figure = convergence.convergence(all_imbalanced)
    shown = {handle.get_label(): handle.get_marker() for handle in figure.legends[0].legend_handles}  # type: ignore[attr-defined]
    assert {label: shown[label] for label in ("M = 1", "M = 3")} == {"M = 1": "o", "M = 3": "s"}
    lines = [line for line in curves_of(panel(figure, "NC2(W)")) if line.get_linestyle() != "None"]
    assert [(line.get_marker(), line.get_linestyle()) for line in lines] == [
        ("o", "-"), ("o", ":"), ("s", "-"), ("s", ":")
    ]  # fmt: skip
    for line in lines:
        places = line.get_markevery()
        assert isinstance(places, list)
        assert 2 <= len(places) <= looks.MARKS
    assert lines[1].get_markerfacecolor() == "white"


def test_titles_are_signs_and_axes_their_definition(all_imbalanced: list[Record]) -> None:
    figure = convergence.convergence(all_imbalanced)
    for key in convergence.SHOWN:
        assert panel(figure, METRICS[key].sign).get_ylabel().endswith(METRICS[key].axis or METRICS[key].words)
    assert [METRICS[key].sign for key in convergence.SHOWN] == ["NC1", "NC2(W)", "NC2(H)", "NC3", "gap"]
    assert {METRICS[key].axis for key in ("nc2_w", "nc2_h", "nc3")} == {"relative distance"}


def test_ordered_looks_differ_and_grow_lighter() -> None:
    """Of ten values each has a look of its own; in grey, the next is lighter. 0.01: what an eye still sees."""
    found = [looks.ordered_look(place, 10) for place in range(10)]
    assert len({look["marker"] for look in found}) == len({tuple(look["color"]) for look in found}) == 10
    assert np.diff([grey(look["color"]) for look in found]).min() > 0.01


def test_ten_classes_have_a_colour_bar_by_their_size(seeds: list[Record]) -> None:
    """Dark is the largest; the lines' colours are the bar's."""
    figure = run_curves(seeds[0])
    ax = panel(figure, "margin of each class")
    bars = [each for each in figure.axes if each.get_label() == "<colorbar>"]
    assert bars
    assert all(each.get_xlabel() == "class count" for each in bars)
    counts = seeds[0].manifest["class_counts"]
    assert [text.get_text() for text in bars[0].get_xticklabels()] == ["7", "6", "4", "3"]
    lines = [line for line in ax.get_lines() if len(line.get_xdata()) > 2]
    shades = [grey(line.get_color()) for line in lines]
    assert len(set(shades)) == len(counts) == 10
    assert shades[int(np.argmin(counts))] > shades[int(np.argmax(counts))]


def test_numbers_on_an_axis_are_of_one_kind() -> None:
    for shown, expected in (
        ([0, 1, 10, 100], ["0", "1", "10", "100"]),
        ([0, 100, 1e4, 2e4], ["0", "$10^{2}$", "$10^{4}$", "$2 \\times 10^{4}$"]),
        ([5e-5, 1e-3], ["$5 \\times 10^{-5}$", "$10^{-3}$"]),
    ):
        formatter = ticks.one_kind(shown)
        assert [formatter(value) for value in shown] == expected


def test_an_axis_of_time_begins_at_the_first_measured_epoch(seeds: list[Record]) -> None:
    late = [replace(run, metrics=run.metrics.iloc[[0, 3, 4, 5, 6]]) for run in seeds]
    _, ax = plt.subplots()
    panels.band(ax, late, "nc1")
    assert ax.get_xlim()[0] == 3


def test_runs_of_one_configuration_look_alike(seeds: list[Record]) -> None:
    others = [replace(run, config=run.config | {"head": run.config["head"] | {"depth": 5}}) for run in seeds]
    curves = [curve for row in arrangement.arrange([*seeds, *others]) for curve in row.curves]
    assert len({curve.marker for curve in curves}) == len(curves) == 2


# --- regions


def square() -> Axes:
    figure, ax = plt.subplots(figsize=(4, 4), layout="constrained")
    ax.set(xlim=(0, 1), ylim=(0, 1))
    figure.draw_without_rendering()
    return ax


def test_names_lie_in_their_regions_and_not_on_dots() -> None:
    """Of two halves and a strip that is too narrow for its name."""
    region = np.zeros((40, 40), dtype=int)
    region[:, 20:], region[:, 38:] = 1, 2
    x, y = (each.ravel() for each in np.meshgrid(np.linspace(0.05, 0.95, 6), np.linspace(0.05, 0.95, 6)))
    ax = square()
    regions.named(ax, region, ("left", "right", "narrow"), (x, y))
    assert [text.get_text() for text in ax.texts] == ["left", "right"]
    inverse = ax.transAxes.inverted()
    for text, (low, high) in zip(ax.texts, ((0, 0.5), (0.5, 0.95)), strict=True):
        box = inverse.transform_bbox(text.get_window_extent())
        assert low <= box.x0 < box.x1 <= high
        assert not ((box.x0 < x) & (x < box.x1) & (box.y0 < y) & (y < box.y1)).any()
