"""Drawings of features after a ReLU with a bias: beside the bias-free prediction, and by phase."""

import numpy as np
import pytest
from figure_runs import SMALL, Runs, caption_of, panel
from matplotlib import pyplot as plt

from ncrun.errors import UserError
from ncrun.figures import DRAWINGS, sharing
from ncrun.records.read import Record
from ncrun.theory import Problem, predict

pytestmark = pytest.mark.usefixtures("closed")

STANDARD = (*SMALL, "model.features=relu", "head.bias=true")


def test_a_bias_free_prediction_stands_beside(runs: Runs) -> None:
    """The dotted line is the formula of Dang et al. 2024 for these counts; circles and triangles are the last row."""
    (record,) = runs.train(*STANDARD, "loss=ce", "decay.weight=2e-3", "decay.feature=5e-4")
    figure = DRAWINGS["with-bias"].draw([record])
    counts, N = np.array(record.problem.counts), sum(record.problem.counts)
    K, s = 10, np.sqrt(2e-3 * 5e-4)
    margins = np.log((K - 1) * (np.sqrt(counts) / (N * s * np.sqrt((K - 1) / K)) - 1))
    (dotted,) = (line for line in panel(figure, "margin").get_lines() if line.get_linestyle() == ":")
    np.testing.assert_allclose(dotted.get_ydata(), margins, rtol=1e-12)
    circles, squares, triangles = panel(figure, "distance at the end").get_lines()
    last = record.metrics.iloc[-1]
    assert list(circles.get_ydata()) == [last[key] for key in ("nc2_w", "nc2_h", "nc3")]
    assert list(triangles.get_ydata()) == [last[f"balanced.{key}"] for key in ("nc2_w", "nc2_h", "nc3")]
    assert record.measured is not None
    means = np.array(record.measured["feature_gram"])
    target = np.diag(margins / np.sqrt(counts))
    expected = np.linalg.norm(means / np.linalg.norm(means) - target / np.linalg.norm(target))
    assert squares.get_ydata()[1] == pytest.approx(expected, rel=1e-12)
    assert "Without a bias, class means are orthogonal" in caption_of(figure)
    plt.close(figure)


def test_norms_at_vanishing_decay_are_drawn_with_a_bias_too(runs: Runs) -> None:
    """After a ReLU nothing is centred: dashed are the diagonals of the prediction, relative to their mean."""
    (record,) = runs.train(*STANDARD, "loss=mse", "decay.mode=parameters")
    figure = DRAWINGS["classes"].draw([record])
    prediction = predict(record.problem)
    grams = prediction.layers[0].weight_gram, prediction.layers[0].feature_gram
    for title, gram in zip(("classifier rows", "class means"), grams, strict=True):
        dashed = panel(figure, f"squared norm of {title} / mean").get_lines()[0]
        np.testing.assert_allclose(dashed.get_ydata(), np.diag(gram) / np.diag(gram).mean(), rtol=1e-12)
    margins = panel(figure, "margin / mean").get_lines()[0].get_ydata()
    np.testing.assert_allclose(np.asarray(margins), 1.0, rtol=1e-9)
    plt.close(figure)


def test_other_runs_are_refused(runs: Runs) -> None:
    (record,) = runs.train(*STANDARD[:-1], "loss=ce")
    for key, words in (("with-bias", "with a bias"), ("sharing-phases", "verdict")):
        with pytest.raises(UserError, match=words):
            DRAWINGS[key].draw([record])


def test_regions_are_what_theory_says_at_their_points() -> None:
    """But for points within 3 % of a border, which is drawn through twelve of its own."""
    problem = Problem("ce", (100.0, 100.0, 12.0, 12.0), (16,), True, (1e-2,), 1e-2, feature_sign="nonnegative")
    found = sharing.borders(problem, (1.0, 100.0), (1e-3, 5e-2))
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(25):
        ratio, decay = np.exp(rng.uniform(0, np.log(100))), np.exp(rng.uniform(np.log(1e-3), np.log(5e-2)))
        near = ratio * np.exp(rng.uniform(-0.03, 0.03, 20)), decay * np.exp(rng.uniform(-0.03, 0.03, 20))
        places = set(found.region(*near).tolist())
        if len(places) == 1:
            posed = Problem(
                "ce", (100.0, 100.0, 100 / ratio, 100 / ratio), (16,), True, (decay,), decay, feature_sign="nonnegative"
            )
            prediction = predict(posed)
            gone = sum(bool(each) for each in prediction.collapsed())
            expected = {0: int("share feature directions" in prediction.note), 2: 2, 4: 3}[gone]
            assert places == {expected}, (ratio, decay)
            seen |= places
    assert seen == {0, 1, 2, 3}


@pytest.fixture
def phases(runs: Runs) -> list[Record]:
    """One free-feature run in each of three phases."""
    free = ("model=ufm_relu", "model.width=8", "head.bias=true", "decay.feature=${decay.weight}", "threads=1")
    settings = (("[100,100,50,50]", "4e-3"), ("[100,100,8,8]", "4e-3"), ("[100,100,8,8]", "2.2e-2"))
    return [
        record
        for counts, decay in settings
        for record in runs.train(*free, f"counts={counts}", f"decay.weight={decay}", "measure=30000")
    ]


def test_trained_runs_are_told_apart_without_colour(phases: list[Record]) -> None:
    figure = DRAWINGS["sharing-phases"].draw(phases)
    markers = [line.get_marker() for line in figure.axes[0].get_lines() if line.get_linestyle() == "None"]
    assert markers == ["o", "s", "x"]
    (legend,) = figure.legends
    words = [text.get_text() for text in legend.get_texts()]
    assert words == [f"trained: {phase} (1)" for phase in ("orthogonal", "rare classes share", "rare classes lost")]
    hatches = figure.axes[0].collections[0].hatches
    assert len(set(hatches)) == len(hatches) == 4
    assert {text.get_text().replace("\n", " ") for text in figure.axes[0].texts} <= set(sharing.NAMES)
    assert len(figure.axes[0].texts) >= 3
    assert "3 runs of L-BFGS" in caption_of(figure)
    plt.close(figure)
