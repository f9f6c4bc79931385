"""NC1 class by class, cosines of pairs, collapse against accuracy, and the terminal phase: what is drawn is what the
records hold, computed anew."""

from dataclasses import replace

import numpy as np
import pytest
from figure_runs import COUNTS, Runs, caption_of, panel, with_metrics
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex

from ncrun.errors import UserError
from ncrun.figures import DRAWINGS, class_spread, cosine_histograms, panels
from ncrun.records.read import Record

pytestmark = pytest.mark.usefixtures("closed")


def test_nc1_of_classes_of_one_size(seeds: list[Record]) -> None:
    """Line: the median over classes and seeds, of an even number the geometric mean of the middle two; band: their
    extremes; dotted: NC1 of all samples, which is the mean of the classes' by their samples (1e-10: sums of sums)."""
    figure = DRAWINGS["class-nc1"].draw(seeds)
    ax = panel(figure, "NC1 of the classes")
    values = np.array([run.metrics["class.nc1"].iloc[1:].tolist() for run in seeds])  # (seeds, epochs, classes)
    *lines, dotted = [line for line in ax.get_lines() if len(line.get_xdata()) == 6]
    sizes = sorted(set(COUNTS), reverse=True)
    assert len(lines) == len(ax.collections) == len(sizes)
    for line, band, size in zip(lines, ax.collections, sizes, strict=True):
        of_size = values[:, :, np.array(COUNTS) == size]
        middle = np.sort(of_size.transpose(1, 0, 2).reshape(6, 6))[:, 2:4]  # epochs, seeds and classes
        np.testing.assert_allclose(line.get_ydata(), np.sqrt(middle[:, 0] * middle[:, 1]), rtol=1e-12)
        corners = band.get_paths()[0].vertices
        last = corners[corners[:, 0] == seeds[0].metrics["epoch"].iloc[-1], 1]
        assert (last.min(), last.max()) == (of_size[:, -1].min(), of_size[:, -1].max())
    weighted = values @ np.array(COUNTS) / sum(COUNTS)
    np.testing.assert_allclose(dotted.get_ydata(), np.median(weighted, axis=0), rtol=1e-10)
    dots = panel(figure, "at the end").get_lines()
    drawn = sorted((float(x), float(y)) for dot in dots for x, y in np.transpose(dot.get_data()))
    assert drawn == sorted((float(n), float(v)) for run in values for n, v in zip(COUNTS, run[-1], strict=True))
    assert "median over seeds and classes" in caption_of(figure)


def test_many_sizes_make_five_groups_and_single_samples_none() -> None:
    counts = np.array([1.0, *np.arange(2.0, 102.0)])
    groups = class_spread.groups_of(counts)
    assert [len(group.classes) for group in groups] == [20] * 5
    assert sorted(k for group in groups for k in group.classes) == list(range(1, 101))
    assert groups[0].label == "classes of 82 to 101"
    assert groups[-1].label == "classes of 2 to 21"
    lightness = [sum(group.look["color"][:3]) for group in groups]
    assert lightness == sorted(lightness)  # told apart without colour
    assert [group.label for group in class_spread.groups_of(np.array([5.0, 5.0]))] == ["classes of 5"]


def test_cosines_at_three_times(seeds: list[Record]) -> None:
    """At the end they are those of the measured matrices; at zero error of the epoch, of each seed its own, at which
    the accuracy is 1 for the first time."""
    accuracies = ([0, 0.5, 1, 0.9, 1, 1, 1], [0, 0.5, 0.5, 0.9, 1, 1, 1], [1, 1, 1, 1, 1, 1, 1])
    marked = [with_metrics(run, train_accuracy=a) for run, a in zip(seeds, accuracies, strict=True)]
    figure = DRAWINGS["cosines"].draw(marked)
    assert [ax.get_title() for ax in figure.axes[:3]] == list(cosine_histograms.TIMES)
    pairs = 45
    for line, (column, matrix) in enumerate((("cosines.w", "weight_gram"), ("cosines.h", "feature_gram"))):
        kept = [np.array(run.metrics[column].tolist()) / pairs for run in seeds]
        start, zero, end = (ax.patches[0].get_data().values for ax in figure.axes[3 * line : 3 * line + 3])
        np.testing.assert_allclose(start, np.mean([counts[0] for counts in kept], axis=0), rtol=1e-12)
        at_zero = [counts[epoch] for counts, epoch in zip(kept, (2, 4, 1), strict=True)]
        np.testing.assert_allclose(zero, np.mean(at_zero, axis=0), rtol=1e-12)
        expected = []
        for run in seeds:
            gram = np.array((run.measured or {})[matrix])
            cosines = gram / np.sqrt(np.outer(np.diag(gram), np.diag(gram)))
            expected.append(np.histogram(cosines[np.triu_indices(10, 1)], 41, (-1, 1))[0] / pairs)
        np.testing.assert_allclose(end, np.mean(expected, axis=0), rtol=1e-12)
        (triangles,) = (one for one in figure.axes[3 * line + 2].get_lines() if one.get_marker() == "v")
        assert list(triangles.get_xdata()) == [0]  # without a bias all are orthogonal
    caption_of(figure)


def test_cosines_of_older_records_are_those_of_the_end(seeds: list[Record]) -> None:
    old = [replace(run, metrics=run.metrics.drop(columns=["cosines.w", "cosines.h"])) for run in seeds]
    ends = []
    for records in (seeds, old):
        figure = DRAWINGS["cosines"].draw(records)
        ends.append([ax.patches[0].get_data().values for ax in figure.axes if "end" in ax.get_title()])
    assert [ax.get_title() for ax in figure.axes] == ["classifier rows at the end", "class means at the end"]
    np.testing.assert_array_equal(ends[0][0], ends[1][0])
    assert "only the cosines at the end" in caption_of(figure)
    with pytest.raises(UserError, match=r"geometry\.json"):
        DRAWINGS["cosines"].draw([replace(run, measured=None) for run in old])


def test_accuracy_over_collapse_with_time_marked(seeds: list[Record]) -> None:
    figure = DRAWINGS["nc-accuracy"].draw(seeds)
    ax = figure.axes[0]
    nc1, accuracy = (np.array([run.metrics[key][1:] for run in seeds]) for key in ("nc1", "test_accuracy"))
    thin, (path, *marks) = ax.get_lines()[:3], ax.get_lines()[3:]
    for line, *own in zip(thin, nc1, accuracy, strict=True):
        np.testing.assert_array_equal(line.get_data(), own)
    np.testing.assert_array_equal(path.get_data(), np.median([nc1, accuracy], axis=1))
    # Of six epochs, all measured, the first is the only power of ten.
    assert [list(mark.get_xdata()) for mark in marks if mark.get_marker() == "o"] == [[path.get_xdata()[0]]]
    assert [text.get_text() for text in figure.legends[0].get_texts()][-1] == "epoch 1"
    assert ax.xaxis_inverted()
    assert "median over the seeds" in caption_of(figure)


def test_terminal_phase_is_from_the_slowest_run_on(all_imbalanced: list[Record], runs: Runs) -> None:
    accuracies = [[0, 0, *[0] * n, *[1] * (5 - n)] for n in (0, 1, 2, 1, 3, 0)]  # 1 from epochs 2, 3, 4, 3, 5, 2 on
    marked = [with_metrics(run, train_accuracy=a) for run, a in zip(all_imbalanced, accuracies, strict=True)]
    figure = DRAWINGS["terminal-phase"].draw(marked)
    for ax in figure.axes:
        (shade,) = ax.patches
        assert (shade.get_x(), shade.get_x() + shade.get_width()) == (5, 6)
        assert ax.get_xscale() == "linear"
        assert ax.get_xlim() == (0, 6)
    lines = [line for line in figure.axes[1].get_lines() if len(line.get_xdata()) == 6]
    assert [to_hex(line.get_color()) for line in lines] == [to_hex("C0"), to_hex("C1")]
    assert list(lines[0].get_xdata()) == [1, 2, 3, 4, 5, 6]
    assert "every run of the row" in caption_of(figure)
    never = [with_metrics(marked[0], train_accuracy=[0.5] * 7), *marked[1:]]
    figure = DRAWINGS["terminal-phase"].draw(never)
    assert not any(ax.patches for ax in figure.axes)
    assert "No row has a terminal phase" in caption_of(figure)
    plt.close("all")
    panels.use_style()
    free = runs.train("model=ufm", "counts=[3,2]", "model.width=4", "epochs=5")
    for key, words in (("terminal-phase", "training error"), ("nc-accuracy", "test split")):
        with pytest.raises(UserError, match=words):
            DRAWINGS[key].draw(free)
