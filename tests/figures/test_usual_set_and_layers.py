"""The field's usual set over training, and layer by layer: ranks, singular values and deep collapse."""

from dataclasses import replace

import numpy as np
import pytest
from figure_runs import DUFM, Runs, caption_of, curves_of, panel, with_metrics
from matplotlib import pyplot as plt

from ncrun.errors import UserError
from ncrun.figures import classes, convergence, layers, matrices, ranks, usual_set
from ncrun.records.read import Record

pytestmark = pytest.mark.usefixtures("closed")

NEW_KEYS = r"^(equinorm|angle|cdnv|head\.\d+\.rank|tap\.)"


def test_predictions_of_the_usual_numbers_are_those_of_vectors() -> None:
    """Classifier and means drawn at random, their Gram matrices in place of theory's: each from its definition."""
    generator = np.random.default_rng(1)
    W, H = generator.standard_normal((2, 5, 7))
    theory = {"weight_gram": W @ W.T, "feature_gram": H @ H.T, "logits": W @ H.T}
    centred = H - H.mean(axis=0)
    for index, vectors in enumerate((W, centred)):
        lengths = np.linalg.norm(vectors, axis=1)
        assert usual_set.predicted_equinorm(theory)[index] == pytest.approx(lengths.std(ddof=1) / lengths.mean())
        cosines = [vectors[i] @ vectors[j] / lengths[i] / lengths[j] for i in range(5) for j in range(5) if i != j]
        assert usual_set.predicted_angle(theory)[index] == pytest.approx(np.mean(np.abs(np.array(cosines) + 1 / 4)))
    apart = np.linalg.norm(W / np.linalg.norm(W) - H / np.linalg.norm(H))
    assert usual_set.predicted_duality(theory)[0] == pytest.approx(apart)


def test_the_usual_set_is_the_recorded_one(seeds: list[Record]) -> None:
    figure = usual_set.usual_set(seeds)
    for title, key in (("std / mean of norms", "equinorm_w"), ("CDNV", "cdnv")):
        drawn = panel(figure, title).get_lines()[0].get_ydata()
        assert list(drawn) == list(np.median([run.metrics[key][1:] for run in seeds], axis=0))
    error = panel(figure, "classification error").get_lines()[0].get_ydata()
    assert error == pytest.approx(np.median([1 - run.metrics["train_accuracy"][1:] for run in seeds], axis=0))
    nc4 = curves_of(panel(figure, "NC4: disagreement"))[0].get_ydata()
    assert list(nc4) == list(np.median([run.metrics["nc4"][1:] for run in seeds], axis=0))
    assert panel(figure, "NC4: disagreement").get_yscale() == "linear"
    dashed = [line.get_ydata()[0] for line in curves_of(panel(figure, "std / mean of norms")) if line.is_dashed()]
    assert usual_set.predicted_equinorm(seeds[0].theory)[0] in dashed
    caption_of(figure)


def test_what_is_rounding_is_not_drawn(runs: Runs) -> None:
    """Two class means about their mean are opposite and equal whatever a network does."""
    records = runs("relu-0", "relu-1")
    for key in ("equinorm_h", "angle_h"):
        assert max(run.metrics[key].max() for run in records) < usual_set.SMALLEST
    figure = usual_set.usual_set(records)
    for title in ("std / mean of norms", "mean |cos + 1/(K − 1)|"):
        assert [line.get_linestyle() for line in curves_of(panel(figure, title)) if len(line.get_xdata()) > 2] == ["-"]
    nothing = [with_metrics(run, equinorm_w=[1e-9] * len(run.metrics)) for run in records]
    assert "std / mean of norms" not in [ax.get_title() for ax in usual_set.usual_set(nothing).axes]


def test_a_prediction_after_a_relu_with_a_bias_is_drawn_as_it_is_measured(runs: Runs) -> None:
    """Free features at the certified optimum: every level is where the curve ends (1e-4: the root of its gap)."""
    typed = ("model=ufm_relu", "loss=ce", "head.bias=true", "counts=[40,20,5]", "model.width=12", "optimizer=lbfgs")
    (record,) = runs.train(*typed, "decay.weight=5e-3", "decay.feature=5e-3")
    figure = usual_set.usual_set([record])
    for title in ("std / mean of norms", "mean |cos + 1/(K − 1)|", "classifier to means (duality)"):
        lines = panel(figure, title).get_lines()
        ends = sorted(line.get_ydata()[-1] for line in lines if len(line.get_ydata()) > 2)
        levels = sorted(line.get_ydata()[0] for line in lines if len(line.get_ydata()) == 2)
        assert levels == pytest.approx(ends, rel=1e-4)
    for drawing in (classes.angles, matrices.matrices):
        assert "the class means are centred" not in caption_of(drawing([record]))


def test_old_records_have_fewer_panels(seeds: list[Record]) -> None:
    """Without the keys of the usual set: panels that need them are left out, and ranks refuse in one line."""
    old = []
    for run in seeds:
        measured = {name: value for name, value in (run.measured or {}).items() if name != "singular_values"}
        metrics = run.metrics.drop(columns=run.metrics.filter(regex=NEW_KEYS).columns)
        old.append(replace(run, metrics=metrics, measured=measured))
    figure = usual_set.usual_set(old)
    assert [ax.get_title() for ax in figure.axes] == [
        "classification error",
        "classifier to means (duality)",
        "NC4: disagreement",
    ]
    caption_of(figure)
    with pytest.raises(UserError, match="older version"):
        ranks.ranks(old)
    for drawing in (convergence.convergence, matrices.matrices, classes.sizes, classes.angles):
        caption_of(drawing(old))


def test_layers_are_the_taps_and_then_the_head(runs: Runs) -> None:
    records = runs("relu-0", "relu-1")
    names = ["tap.relu1", "tap.relu2", "head.1", "head.2", "head.3"]
    assert layers.layer_names(records[0]) == names
    figure = layers.deep_collapse(records)
    lines = curves_of(panel(figure, "DNC1: within / between"))
    assert len(lines) == 5
    for name, line in zip(names, lines, strict=True):
        values = [run.metrics[f"{name}.nc1_trace"][1:] for run in records]
        assert line.get_ydata() == pytest.approx(np.exp(np.mean(np.log(values), axis=0)))  # of two seeds, on a log axis
    assert [line.get_linestyle() for line in lines] == [":", ":", "-", "-", "-"]
    end = panel(figure, "at the end, by layer")
    assert [tick.get_text() for tick in end.get_xticklabels()] == ["relu1", "relu2", "1", "2", "3"]
    middle, first, _ = end.get_lines()[:3]
    values = [[run.metrics[f"{name}.nc1_trace"].iloc[-1] for name in names] for run in records]
    assert middle.get_ydata() == pytest.approx(np.exp(np.mean(np.log(values), axis=0)))
    assert list(first.get_ydata()) == values[0]
    for words in ("ReLU head of depth 3", "classes 0 and 1 of digits", "seeds 0 and 1"):
        assert words in caption_of(figure)


def test_seeds_are_a_band(runs: Runs) -> None:
    """Line: the median; band: from the smallest to the largest. A row for each depth."""
    deep, shallow = (runs.of("sukenik2023/dufm", *DUFM, f"head.depth={depth}") for depth in (4, 3))
    assert len(deep) == len(shallow) == 3
    figure = layers.deep_collapse([*deep, *shallow])
    assert [figure.axes[i].get_ylabel() for i in (0, 6)] == ["L = 3", "L = 4"]
    loss = figure.axes[0].get_lines()[0]
    values = np.array([run.metrics["loss"][1:] for run in shallow])
    assert np.array_equal(loss.get_ydata(), np.median(values, axis=0))
    corners = figure.axes[0].collections[0].get_paths()[0].vertices
    assert (corners[:, 1].min(), corners[:, 1].max()) == pytest.approx((values.min(), values.max()))
    optimum = figure.axes[0].get_lines()[1]
    assert list(optimum.get_ydata()) == [shallow[0].theory["objective"]] * 2
    styles = [[line.get_linestyle() for line in curves_of(figure.axes[i])] for i in (7, 8, 9)]
    assert styles == [["-"] * 4, [":", "-", "-", "-"], [":", "-", "-", "-"]]
    text = caption_of(figure)
    for words in ("under a ReLU head", "2 classes of 4 samples", "seeds 0 to 2", "reconstruction", "band: smallest"):
        assert words in text
    plt.close(layers.deep_collapse(shallow))
    plt.close(figure)
