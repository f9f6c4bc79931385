"""Drawings in the settings of the papers: what they show of the runs, and what their captions say."""

import numpy as np
import pytest
from figure_runs import DIRECT, Runs, caption_of, curves_of, with_metrics
from matplotlib import pyplot as plt

from ncrun.figures import DRAWINGS, dang2023, frame_3d, ledger, panels
from ncrun.records.read import Record

pytestmark = pytest.mark.usefixtures("closed")


@pytest.fixture
def records(runs: Runs) -> list[Record]:
    """Depths 1 and 3 of the imbalanced experiment, trained for four epochs."""
    small = ("model.depth=1", "model.width=8", "epochs=4", "finish=null", "counts=[3,3,4,4,5,5,6,6,7,7]", "threads=1")
    return [
        record
        for depth in (1, 3)
        for record in runs.of("dang2023/mlp-imbalanced", "scale=cpu", *small, f"head.depth={depth}")
    ]


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
    for key in ("imbalanced", "ledger", "convergence", "grams", "usual", "ranks", "classes", "angles"):
        figure = DRAWINGS[key].draw(records)
        text = caption_of(figure)
        for words in (
            "Scale cpu",
            "digits",
            "50 samples",
            "10 classes of 3 to 7",
            "4 epochs",
            "seed 0",
            "small version",
        ):
            assert words in text
        plt.close(figure)


def test_the_parts_of_the_ledger_add_up_to_the_gap(records: list[Record]) -> None:
    """In units of the optimum above; below, areas from 0 to 1 in every column."""
    figure = ledger.ledger(records)
    caption_of(figure)
    for column, record in enumerate(records):
        gap, *parts = (np.asarray(line.get_ydata(), dtype=float) for line in curves_of(figure.axes[column]))
        assert np.array_equal(gap, record.metrics["gap"][1:])
        assert np.nansum(parts, axis=0) == pytest.approx(gap, rel=1e-9)
        areas = [area.get_paths()[0].vertices for area in figure.axes[len(records) + column].collections]
        assert len(areas) == len(parts)
        every = np.concatenate(areas)
        assert (every[:, 0].min(), every[:, 0].max(), every[:, 1].max()) == pytest.approx((1, 4, 1))
        for area, part in zip(areas, parts, strict=True):
            at_first = area[area[:, 0] == 1, 1]
            # areas are stacked: rounding of a sum of shares
            assert np.ptp(at_first) == pytest.approx(np.nan_to_num(part[0]) / gap[0], abs=1e-12)
    plt.close(figure)


def test_a_depth_keeps_its_colour_while_others_are_missing(records: list[Record]) -> None:
    assert panels.look_of(records[1])["color"] == "C1"
    alone, both = dang2023.imbalanced(records[1:]), dang2023.imbalanced(records)
    assert curves_of(alone.axes[0])[0].get_color() == curves_of(both.axes[0])[1].get_color() == "C1"
    plt.close("all")


def test_momentum_is_the_style_and_depth_the_colour(runs: Runs) -> None:
    """Solid with momentum, dash-dotted without; dots of the runs with momentum only."""
    runs = [
        *runs.of("dang2023/direct-imbalanced", *DIRECT, "head.depth=1", "optimizer.momentum=0.9"),
        *runs.of("dang2023/direct-imbalanced", *DIRECT, "head.depth=3", "optimizer.momentum=0.0"),
    ]
    figure = dang2023.direct_imbalanced(runs)
    lines = {line.get_color(): line for line in curves_of(figure.axes[0])}
    assert {colour: line.get_linestyle() for colour, line in lines.items()} == {"C0": "-", "C1": "-."}
    for line, run in zip(lines.values(), runs, strict=True):
        assert list(line.get_ydata()) == list(run.metrics["nc1"][1:])
        assert list(line.get_xdata()) == list(run.metrics["epoch"][1:])
    dots = figure.axes[4].get_lines()[1]
    assert list(dots.get_ydata()) == runs[0].metrics["class.weight_norm_sq"].iloc[-1]
    text = caption_of(figure)
    for words in (
        "Free features, dimension 6, 4 classes of 8, 4, 2, 2 samples; squared loss, all decays 0.0005; 30 iterations of"
        " gradient descent, momentum 0.9 or 0, learning rate 0.1, float64, seed 0.",
        "The setting of Dang et al. 2023",
    ):
        assert words in text
    plt.close(dang2023.direct_imbalanced(runs[1:]))  # while others are missing
    plt.close(figure)


def test_rows_without_and_with_bias(runs: Runs) -> None:
    runs = [
        *runs.of("dang2023/direct-balanced", "model.width=6", "epochs=30", "counts=[4,4,4,4]", "head.depth=1"),
        *runs.of(
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
        "no bias:\northogonal frame\nwithin-class spread",
        "last-layer bias:\nsimplex ETF\nwithin-class spread",
    ]
    for row, run in enumerate(runs):
        for column, key in enumerate(("nc1", "nc2_w", "nc2_h", "nc3", "gap")):
            (line,) = curves_of(figure.axes[5 * row + column])
            assert list(line.get_ydata()) == list(run.metrics[key][1:])
    alone = dang2023.direct_balanced(runs[1:])
    assert len(alone.axes) == 5
    plt.close("all")


@pytest.mark.parametrize("counts", ["[9,9,9]", "[20,9,4]"])
@pytest.mark.parametrize("bias", ["false", "true"])
def test_frames_have_the_predicted_and_the_measured_gram_matrices(runs: Runs, counts: str, bias: str) -> None:
    """Both up to the drawing's scale, and after alignment the learned vectors lie on the prediction."""
    (run,) = runs.of("dang2023/geometry-3d", f"counts={counts}", f"head.bias={bias}")
    assert run.measured is not None
    predicted, learned = frame_3d.frames(run)
    for (weights, means), matrices in ((predicted, run.theory), (learned, run.measured)):
        scale = 1 / np.sqrt(max(np.diag(run.theory["weight_gram"])))
        mean_scale = frame_3d.LONGEST_MEAN / np.sqrt(max(np.diag(run.theory["feature_gram"])))
        assert weights @ weights.T == pytest.approx(scale**2 * np.array(matrices["weight_gram"]), abs=1e-7)
        assert means @ means.T == pytest.approx(mean_scale**2 * np.array(matrices["feature_gram"]), abs=1e-7)
        assert weights @ means.T == pytest.approx(scale * mean_scale * np.array(matrices["logits"]), abs=1e-7)
    assert learned == pytest.approx(predicted, abs=1e-5)


def test_three_classes_in_space(runs: Runs) -> None:
    settings = [(counts, bias) for bias in ("true", "false") for counts in ("[20,9,4]", "[9,9,9]")]
    runs = [run for c, b in settings for run in runs.of("dang2023/geometry-3d", f"counts={c}", f"head.bias={b}")]
    figure = frame_3d.geometry_3d(runs)
    assert [" ".join(ax.get_title().split()) for ax in figure.axes] == [
        "orthogonal frame, no bias",
        "simplex ETF, with a bias",
        "general orthogonal frame, no bias",
        "frame in a plane, with a bias",
    ]
    text = caption_of(figure)
    assert "3 classes of 9 samples or 3 classes of 20, 9, 4 samples" in text
    assert "L-BFGS" in text
    plt.close(frame_3d.geometry_3d(runs[:1]))
    plt.close(figure)


def test_effective_nc1_is_drawn_where_it_is_another_number(runs: Runs) -> None:
    (run,) = runs.of("dang2023/direct-balanced", "model.width=6", "epochs=30", "counts=[4,4,4,4]", "head.depth=1")
    small = with_metrics(run, nc1_effective=list(run.metrics["nc1"] / 100))
    old = with_metrics(run, nc1_effective=[None] * len(run.metrics))
    old.metrics.pop("nc1_effective")
    for records, title in (([run], "NC1"), ([small], "effective NC1"), ([small, old], "NC1")):
        figure = dang2023.direct_balanced(records)
        assert figure.axes[0].get_title() == title
        assert figure.axes[0].get_ylabel().endswith("within-class spread")
        plt.close(figure)
